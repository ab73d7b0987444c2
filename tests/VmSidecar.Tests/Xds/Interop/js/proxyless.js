// A gRPC client with xDS that is not ours. GRPC_XDS_BOOTSTRAP names the agent's bootstrap file; the argument is the target to resolve.
// Serves two echo servers (a, b), prints their ports, and answers each line of its input with the server that a call reached.
'use strict';
const grpc = require('@grpc/grpc-js');
require('@grpc/grpc-js-xds').register();

const same = bytes => bytes;
const echo = {
  Say: {
    path: '/interop.Echo/Say', requestStream: false, responseStream: false,
    requestSerialize: same, requestDeserialize: same, responseSerialize: same, responseDeserialize: same,
  },
};

function serve(name) {
  const server = new grpc.Server();
  server.addService(echo, { Say: (call, done) => done(null, Buffer.concat([Buffer.from(name + ':'), call.request])) });
  return new Promise((resolve, reject) => server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (e, port) => (e ? reject(e) : resolve(port))));
}

function say(client, word) {
  return new Promise(resolve => client.Say(Buffer.from(word), { deadline: Date.now() + 50000, waitForReady: true }, (e, answer) => resolve(e ? `code ${e.code} ${e.details}` : answer.toString())));
}

async function main() {
  console.log(`ports ${await serve('a')} ${await serve('b')}`);
  const client = new (grpc.makeGenericClientConstructor(echo, 'Echo'))(process.argv[2], grpc.credentials.createInsecure());
  for await (const word of require('readline').createInterface({ input: process.stdin })) {
    console.log(await say(client, word));
  }
  process.exit(0);
}

main();
