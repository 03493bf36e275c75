// TC-LOCK-001 for k6: of several operations on one user at once one is done. Written by `proofload k6 export`.
//
// What k6 can't prove, and `proofload run TC-LOCK-001` does: that the requests of a burst really met (k6 does not tell
// when each was sent), that different users never contend, that a lock is free again soon after, and which order of
// the operations explains every answer. Start it with the token of a user who has money and who does nothing else.
import http from 'k6/http';
import { Counter } from 'k6/metrics';

const BURSTS = PL_BURSTS;
const AT_ONCE = PL_AT_ONCE;
const done = new Counter('operations_done');
const refused = new Counter('refused_while_locked');
const none = new Counter('bursts_without_success');
const second = new Counter('second_success_in_a_burst');
const other = new Counter('neither_done_nor_refused');
const off = new Counter('balance_off');

PL_OWN

export const options = {
  vus: 1,
  iterations: 1,
  batch: AT_ONCE,
  batchPerHost: AT_ONCE, // else k6 sends six at a time
  // Without samples a threshold passes in k6, so operations must have been done, and refused where that is promised.
  thresholds: {
    operations_done: ['count>0'],
    refused_while_locked: [PL_LEAST_REFUSED],
    bursts_without_success: ['count<1'],
    second_success_in_a_burst: ['count<1'],
    neither_done_nor_refused: ['count<1'],
    balance_off: ['count<1'],
  },
};

const LOCKS = [
PL_LOCKS
];

function balance(lock) {
  const answer = http.request(...lock.reads());
  const value = lock.field.split('.').reduce((inside, key) => (inside ? inside[key] : undefined), answer.json());
  if (typeof value !== 'number') throw new Error(`no balance at ${lock.field}: ${answer.status} ${answer.body}`);
  return value;
}

function burst(lock) {
  const before = balance(lock);
  let successes = 0;
  for (const answer of http.batch(Array.from({ length: lock.at_once }, lock.request))) {
    if (lock.successes.includes(answer.status)) {
      successes += 1;
    } else if (!lock.waits && answer.status === lock.status && (lock.code === null || answer.body.includes(lock.code))) {
      refused.add(1);
    } else {
      other.add(1, { lock: lock.name, status: String(answer.status) });
      console.error(`${lock.name}: got ${answer.status} ${answer.body}`);
    }
  }
  done.add(successes);
  if (successes === 0) none.add(1, { lock: lock.name });
  if (!lock.waits && successes > 1) second.add(1, { lock: lock.name });
  const moved = balance(lock) - before;
  if (moved !== successes * lock.moves) {
    off.add(1, { lock: lock.name });
    console.error(`${lock.name}: ${successes} done, each ${lock.moves}, but the balance moved by ${moved}`);
  }
}

export default function () {
  for (const lock of LOCKS) {
    for (let i = 0; i < BURSTS; i += 1) burst(lock);
  }
}
