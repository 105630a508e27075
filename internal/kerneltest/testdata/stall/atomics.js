// Waits for a worker thread in the event loop.
const http = require('http');
const { Worker } = require('worker_threads');

const shared = new Int32Array(new SharedArrayBuffer(4));
new Worker('setInterval(() => {}, 1000)', { eval: true });

http.createServer((req, res) => {
  Atomics.wait(shared, 0, 0);
  res.end('done');
}).listen(+process.argv[2], '127.0.0.1', () => console.log('ready'));
