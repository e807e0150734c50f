'use strict';

// Runs the full node of the bcoin that stands in the folder $BCOIN. The program that comes with it also asks a name server
// for this machine's public address, and opens a wallet: neither belongs in a benchmark.

const path = require('path');
const FullNode = require(path.join(process.env.BCOIN, 'lib', 'node', 'fullnode'));

async function main() {
  const node = new FullNode({argv: true, memory: false, workers: true, listen: true});
  node.pool.discoverExternal = () => Promise.resolve();
  process.once('SIGTERM', () => node.close().then(() => process.exit(0)));
  await node.ensure();
  await node.open();
  await node.connect();
  node.startSync();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
