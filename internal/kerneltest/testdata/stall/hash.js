// Hashes a password in the only thread there is.
const http = require('http');
const crypto = require('crypto');

function login(body) {
  return crypto.pbkdf2Sync('secret', 'salt', 200000000, 64, 'sha512').toString('hex');
}

http.createServer((req, res) => res.end(login(req.url)))
  .listen(+process.argv[2], '127.0.0.1', () => console.log('ready'));
