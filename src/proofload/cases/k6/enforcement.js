// TC-RL-001 for k6: the limit admits what it promises, and no more. Written by `proofload k6 export`.
//
// What k6 can't prove, and `proofload run TC-RL-001` does: that a concurrent burst is not over-admitted, that no
// header, query or new connection opens a new allowance, that rejected requests never reach the backend, that other
// clients are served meanwhile, and that the allowance comes back. Start it with a key that has sent nothing lately.
import http from 'k6/http';
import { sleep } from 'k6';
import { Counter } from 'k6/metrics';

const ALLOWED = PL_ALLOWED;        // at once
const FLOWS = PL_FLOWS;            // comes back in each second, where the limit is a bucket
const WINDOW = PL_WINDOW;          // seconds
const BY_THE_CLOCK = PL_BY_THE_CLOCK;
const admitted = new Counter('admitted');
const rejected = new Counter('rejected');
const beyond = new Counter('admitted_beyond_the_limit');
const other = new Counter('neither_served_nor_limited');

PL_OWN

export const options = {
  scenarios: {
    spend: { executor: 'per-vu-iterations', vus: 1, iterations: PL_TIMES, maxDuration: PL_LASTS },
  },
  // `status is 200 or 429` is true without a limiter; these are not. Each asks for samples: k6 passes without any.
  thresholds: {
    admitted: ['count>=' + ALLOWED],
    rejected: ['count>0'],
    admitted_beyond_the_limit: ['count<1'],
    neither_served_nor_limited: ['count<1'],
  },
};

export function setup() {
  if (BY_THE_CLOCK) sleep(WINDOW - (Date.now() / 1000) % WINDOW); // wait for a window to begin
}

let began;
let served = 0;

export default function () {
  if (began === undefined) began = Date.now();
  const answer = http.request(...PL_REQUEST);
  const seconds = (Date.now() - began) / 1000;
  if (answer.status === PL_REJECTION) {
    rejected.add(1);
  } else if (PL_SUCCESSES.includes(answer.status)) {
    admitted.add(1);
    served += 1;
    if (served > ALLOWED + Math.ceil(FLOWS * seconds)) beyond.add(1);
  } else {
    other.add(1);
  }
}
