// Asks once over HTTPS with what Node brings along, and prints what came of it.
const fs = require("node:fs");
const https = require("node:https");

const [port, ca, text] = process.argv.slice(2);
const options = JSON.parse(text);
const settings = { host: "127.0.0.1", servername: "localhost", port, ca: fs.readFileSync(ca), agent: false };
if (options.crl) settings.crl = fs.readFileSync(options.crl);
if (options.ciphers) settings.ciphers = options.ciphers;
if (options.alpn) settings.ALPNProtocols = options.alpn;
if (options.key) Object.assign(settings, { key: fs.readFileSync(options.key), cert: fs.readFileSync(options.key) });

const end = (words) => {
  console.log(words);
  process.exit(0);
};
const request = https.get(settings, (answer) => {
  let body = "";
  answer.on("data", (piece) => (body += piece));
  answer.on("end", () => end(`ok ${body}`));
  answer.on("error", (error) => end(`${error.code} ${error.message}`));
});
request.setTimeout((options.timeout ?? 20) * 1000, () => end("timeout: the socket was idle"));
request.on("error", (error) => end(`${error.code} ${error.message}`));
