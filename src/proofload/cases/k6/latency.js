// TC-LATENCY-001 for k6: percentiles of each operation. Written by `proofload k6 export`.
//
// What k6 can't prove, and `proofload run TC-LATENCY-001` does: times from the instant a request was due (k6's
// leave out the wait inside k6 itself), intervals of confidence, and which part of the time is the generator's own.
// Where clients are limited by address, give k6 several: --local-ips. Where a user's operations exclude each other, give
// it a token for each of its users: TOKEN='["...", "..."]'.
import http from 'k6/http';

PL_OWN

export const options = {
  summaryTrendStats: ['med', 'p(90)', 'p(95)', 'p(99)', 'max'],
  scenarios: PL_SCENARIOS,
  // A threshold on a metric without samples passes in k6, so each operation must also have been sent, and answered.
  thresholds: PL_THRESHOLDS,
};

PL_FUNCTIONS
