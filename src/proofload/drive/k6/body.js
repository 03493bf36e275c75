import http from 'k6/http';
import exec from 'k6/execution';
import { b64encode } from 'k6/encoding';
import { sleep } from 'k6';
import { Counter } from 'k6/metrics';

export const options = FACTS.options;
const answered = new Counter('proofload_answer');
let sent = 0;

export default function () {
  const index = (exec.vu.idInTest - 1) % FACTS.requests.length;
  const request = FACTS.requests[index];
  const id = request.headers['X-Request-ID'] || `${FACTS.prefix}${exec.vu.idInTest}.${sent++}`;
  const metadata = exec.vu.metrics.metadata;
  metadata.request_id = id;
  metadata.user = String(index);
  const answer = http.request(request.method, request.url, request.body, {
    headers: { ...request.headers, 'X-Request-ID': id },
    tags: { name: FACTS.operation },
    timeout: FACTS.timeout,
    redirects: 0,
    responseType: FACTS.keep_body ? 'binary' : 'none',
    // A status is for the judges to judge.
    responseCallback: null,
  });
  const kept = {};
  for (const [name, value] of Object.entries(answer.headers)) {
    if (FACTS.kept.includes(name.toLowerCase())) kept[name.toLowerCase()] = value;
  }
  metadata.headers = JSON.stringify(kept);
  if (FACTS.keep_body && answer.body) metadata.body = b64encode(answer.body);
  answered.add(1);
  delete metadata.headers;
  delete metadata.body;
  if (FACTS.think) sleep(FACTS.think[0] + Math.random() * (FACTS.think[1] - FACTS.think[0]));
}
