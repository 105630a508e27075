// Runs a converter and waits for it, in the only thread there is.
const http = require('http');
const { execFileSync } = require('child_process');

http.createServer((req, res) => res.end(execFileSync('sleep', ['1000'])))
  .listen(+process.argv[2], '127.0.0.1', () => console.log('ready'));
