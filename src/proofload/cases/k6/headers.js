// TC-RL-002 for k6: what the headers tell of the allowance is there, and true. Written by `proofload k6 export`.
//
// What k6 can't prove, and `proofload run TC-RL-002` does: that a client who waits as long as Reset or Retry-After says
// is served then and not before, and what headers say while requests overlap. Start it with a key that has sent nothing
// lately: Remaining is compared with what this script has spent itself.
import http from 'k6/http';
import { sleep } from 'k6';
import { Counter } from 'k6/metrics';

const LIMIT = PL_LIMIT;
const WINDOW = PL_WINDOW;          // seconds
const BY_THE_CLOCK = PL_BY_THE_CLOCK;
const NAMES = PL_NAMES;            // null: not promised
const RESET_UNIT = PL_RESET_UNIT;
const TICK = 1;                    // seconds that whole numbers may round away
const read = new Counter('answers_read');
const rejected = new Counter('rejected');
const missing = new Counter('headers_missing');
const wrong = new Counter('headers_wrong');

PL_OWN

export const options = {
  scenarios: {
    spend: { executor: 'per-vu-iterations', vus: 1, iterations: PL_TIMES, maxDuration: PL_LASTS },
  },
  // Without samples a threshold passes in k6, so answers and rejections must have been read.
  thresholds: {
    answers_read: ['count>' + LIMIT],
    rejected: ['count>0'],
    headers_missing: ['count<1'],
    headers_wrong: ['count<1'],
  },
};

export function setup() {
  if (BY_THE_CLOCK) sleep(WINDOW - (Date.now() / 1000) % WINDOW); // wait for a window to begin
}

let spent = 0;

// Takes one header to task: `fits` is given its number. A header that is not promised is passed over.
function look(answer, name, fits) {
  if (name === null) return;
  const key = Object.keys(answer.headers).find((one) => one.toLowerCase() === name.toLowerCase());
  if (key === undefined) {
    missing.add(1, { header: name });
    return;
  }
  const text = answer.headers[key].trim();
  const number = /^\d+(\.\d+)?$/.test(text) ? Number(text) : NaN;
  if (!fits(number, text)) {
    wrong.add(1, { header: name });
    console.error(`${name}: got ${JSON.stringify(text)} on answer ${spent} of status ${answer.status}`);
  }
}

function lies_ahead(seconds) {
  return seconds >= -TICK && seconds <= WINDOW + TICK;
}

export default function () {
  const answer = http.request(...PL_REQUEST);
  const now = Date.now() / 1000;
  read.add(1);
  spent += 1;
  const left = Math.max(0, LIMIT - spent);
  look(answer, NAMES.limit, (number) => number === LIMIT);
  look(answer, NAMES.remaining, (number) => number === left);
  look(answer, NAMES.reset, (number) => {
    if (RESET_UNIT === 'delta_seconds') return lies_ahead(number);
    return lies_ahead((RESET_UNIT === 'epoch_milliseconds' ? number / 1000 : number) - now);
  });
  if (answer.status === PL_REJECTION) {
    rejected.add(1);
    look(answer, NAMES.retry_after, (number, text) => lies_ahead(isNaN(number) ? Date.parse(text) / 1000 - now : number));
  }
}
