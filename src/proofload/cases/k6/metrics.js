// TC-MON-001 for k6: every answer is counted once, by route, method and status. Written by `proofload k6 export`.
//
// What k6 can't prove, and `proofload run TC-MON-001` does: that histograms and a Prometheus server agree as well, that
// answers of every kind are counted (refused, unauthorised, contended), and that nobody else sent anything meanwhile.
// Start it while nothing else uses the target: the difference of two readings is compared with what this script sent.
import http from 'k6/http';
import { sleep } from 'k6';
import { Counter } from 'k6/metrics';

const PAGE = PL_PAGE;
const COUNTER = PL_COUNTER;
const LABELS = PL_LABELS;          // what we call a label, to what the target calls it
const ONLY = PL_ONLY;              // labels that select the series to compare
const EACH = PL_EACH;
const SETTLES = 1;                 // seconds: a target may count after it has answered
const compared = new Counter('series_compared');
const miscounted = new Counter('answers_miscounted');

PL_OWN

export const options = {
  vus: 1,
  iterations: 1,
  // Without samples a threshold passes in k6, so series must have been compared.
  thresholds: { series_compared: ['count>0'], answers_miscounted: ['count<1'] },
};

const OPERATIONS = [
PL_OPERATIONS
];

// Returns how many answers the page has counted, by route, method and status as far as they are labels.
function counted() {
  const answer = http.get(PAGE);
  if (answer.status !== 200) throw new Error(`${PAGE}: got ${answer.status}`);
  const totals = {};
  for (const line of answer.body.split('\n')) {
    const found = /^([A-Za-z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)/.exec(line);
    if (!found || found[1] !== COUNTER) continue;
    const labels = {};
    for (const [, name, value] of (found[2] || '').matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) labels[name] = value;
    if (Object.entries(ONLY).some(([name, value]) => labels[name] !== value)) continue;
    const key = keyed((what) => labels[LABELS[what]] || '');
    totals[key] = (totals[key] || 0) + Number(found[3]);
  }
  return totals;
}

function keyed(value_of) {
  return ['route', 'method', 'status'].filter((what) => what in LABELS).map(value_of).join(' ');
}

export default function () {
  const before = counted();
  const sent = {};
  for (const operation of OPERATIONS) {
    for (let i = 0; i < EACH; i += 1) {
      const told = { ...operation, status: String(http.request(...operation.request()).status) };
      const key = keyed((what) => told[what]);
      sent[key] = (sent[key] || 0) + 1;
    }
  }
  sleep(SETTLES);
  const after = counted();
  for (const [key, times] of Object.entries(sent)) {
    const rose = (after[key] || 0) - (before[key] || 0);
    compared.add(1);
    miscounted.add(Math.abs(rose - times));
    if (rose !== times) console.error(`${COUNTER} ${key}: rose by ${rose}, ${times} were answered`);
  }
}
