#!/usr/bin/env node
// Stands in for the engine, so that the demo itself can be tested: it serves the head of the chain it is configured for, one pool,
// and the verdict that FAKE_VERDICT asks for (equal, drift, blind, crash).
import { readFileSync } from 'node:fs';
import http from 'node:http';

const [command, , config] = process.argv.slice(2);
const verdict = process.env.FAKE_VERDICT;
if (verdict === 'crash') {
  console.error('the fake engine fails as it was told to');
  process.exit(3);
}
const toml = readFileSync(config, 'utf8');
const [api, admin] = [...toml.matchAll(/listen = "127\.0\.0\.1:(\d+)"/g)].map((m) => Number(m[1]));
const rpc = toml.match(/"(http:[^"]+)"/)[1];

const ask = async (method, params) => {
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method, params });
  return (await (await fetch(rpc, { method: 'POST', headers: { 'content-type': 'application/json' }, body })).json()).result;
};
const head = async () => {
  const block = await ask('eth_getBlockByNumber', ['latest', false]);
  return { number: Number(block.number), hash: block.hash };
};
if (command === 'audit') {
  // PairCreated and PoolCreated: as many pools as there are. `blind` compares none of them and calls that equal.
  const created = ['0x0d3648bd0f6ba80134a33ba9275ac585d9d315f0ad8355cddefde31afa28d0e9', '0x783cca1c0412dd0d695e784568c96da2e9c22ff989357a2e8b1d9b2b4e6b7118'];
  const pools = (await ask('eth_getLogs', [{ fromBlock: '0x0', toBlock: 'latest', topics: [created] }])).length;
  console.log(JSON.stringify({ compared: verdict === 'blind' ? 0 : pools, ticks: 8, block_hash: (await head()).hash }));
  process.exit(verdict === 'drift' ? 2 : 0);
}
const pool = { id: '0x1', protocol: 'UNISWAP_V2', feeTier: '3000', token0: { symbol: 'USDC' }, token1: { symbol: 'WETH' },
  token0Price: '3000.5', token1Price: '0.000333277', liquidity: null, reserve0: '3000500000', reserve1: '1000000000000000000' };
const servers = [
  http.createServer(async (_, res) => {
    res.setHeader('content-type', 'application/json');
    res.end(JSON.stringify({ data: { _meta: { block: await head() }, swaps: { totalCount: 7 }, pools: { totalCount: 1, nodes: [pool] } } }));
  }).listen(api, '127.0.0.1'),
  http.createServer((req, res) => res.end(req.url === '/metrics' ? 'swaptide_events_total{chain="31337"} 12\n' : 'ok\n')).listen(admin, '127.0.0.1'),
];
process.on('SIGTERM', () => { for (const s of servers) { s.close(); s.closeAllConnections(); } });
