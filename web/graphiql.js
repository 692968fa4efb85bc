// GraphiQL with our own transport: queries over HTTP, subscriptions over the page's WebSocket client. Nothing from a CDN.

import { Client } from "./client.js";

const TABS = [
  `# Pools, newest first, each with its price and the block it is true at.
query Pools {
  pools(first: 20, orderDirection: desc) {
    totalCount
    nodes {
      id
      protocol
      feeTier
      token0 { symbol decimals }
      token1 { symbol decimals }
      token0Price
      token1Price
      liquidity
      reserve0
      reserve1
      asOf { number hash }
    }
    pageInfo { hasNextPage endCursor }
  }
  _meta { freshness block { number hash } }
}
`,
  `# The latest swaps. Pass endCursor as after to go further back.
query LatestSwaps {
  swaps(first: 10, orderDirection: desc) {
    nodes {
      id
      timestamp
      amount0
      amount1
      token0 { symbol }
      token1 { symbol }
      commitment
      block { number hash }
    }
    pageInfo { hasNextPage endCursor }
  }
}
`,
  `# Swaps as they happen. A reorg arrives as a RETRACT with what it takes back.
subscription SwapsLive {
  onSwapsCreated {
    kind
    seq
    cursor
    block { number hash }
    data {
      id
      amount0
      amount1
      token0 { symbol }
      token1 { symbol }
      removed
    }
  }
}
`,
  `# Blocks as they join the chain, and as a reorg takes them back.
subscription BlocksLive {
  blocks {
    kind
    seq
    cursor
    block { number hash }
    data { number hash timestamp }
  }
}
`,
];

/** Whether the operation that runs is a subscription. */
function isSubscription({ operationName }, { documentAST } = {}) {
  const operations = (documentAST?.definitions ?? []).filter((d) => d.kind === "OperationDefinition");
  const chosen = operations.find((d) => d.name?.value === operationName) ?? operations[0];
  return chosen?.operation === "subscription";
}

/** One connection per subscription: it ends with it, and a lost one is said, not hidden. */
function subscribe(params) {
  return {
    subscribe(observer) {
      const client = new Client({
        opened: () => client.subscribe(params.query, params.variables ?? {}, {
          next: (result) => { client.settled(); observer.next(result); },
          error: (errors) => { observer.next({ errors }); observer.complete(); client.stop(); },
          complete: () => { observer.complete(); client.stop(); },
        }),
        closed: () => observer.next({ errors: [{ message: "the connection was lost; connecting again" }] }),
      });
      return { unsubscribe: () => client.stop() };
    },
  };
}

async function post(params, headers) {
  const response = await fetch("/graphql", {
    method: "POST",
    headers: { "content-type": "application/json", accept: "application/graphql-response+json, application/json", ...headers },
    body: JSON.stringify(params),
  });
  return response.json();
}

const { React, ReactDOM, GraphiQL } = globalThis;
const fetcher = (params, options) => (isSubscription(params, options) ? subscribe(params) : post(params, options?.headers));
const root = ReactDOM.createRoot(document.getElementById("graphiql"));
root.render(React.createElement(GraphiQL, { fetcher, defaultTabs: TABS.map((query) => ({ query })), isHeadersEditorEnabled: false }));
