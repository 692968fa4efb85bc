// The clients that front ends use, unmodified: node transports.mjs WS_URL HTTP_URL. One JSON line per event.
import { createRequire } from 'node:module';
const req = createRequire(`${process.env.PARTS}/index.js`);
const { createClient: createSocket } = req('graphql-ws');
const WebSocket = req('ws');
const { ApolloClient, InMemoryCache, gql } = req('@apollo/client');
const { GraphQLWsLink } = req('@apollo/client/link/subscriptions');
const { createClient: createUrql, fetchExchange, subscriptionExchange } = req('@urql/core');
const { pipe, subscribe: follow, toPromise, take } = req('wonka');
const { serverAudits } = req('graphql-http');
const [wsUrl, httpUrl] = process.argv.slice(2);
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const SWAPS = 'subscription { onSwapsCreated { kind cursor data { id } } }';
const META = '{ _meta { block { number } } }';
const socket = () => createSocket({ url: wsUrl, webSocketImpl: WebSocket });
const told = (client, data) => say({ client, kind: data.onSwapsCreated.kind, ids: data.onSwapsCreated.data.map((swap) => swap.id) });
const failed = (client) => (error) => say({ client, error: String(error?.message ?? JSON.stringify(error)) });

const plain = socket();
plain.subscribe({ query: SWAPS }, { next: ({ data }) => told('graphql-ws', data), error: failed('graphql-ws'), complete() {} });
for await (const { data } of plain.iterate({ query: META })) say({ client: 'graphql-ws', block: data._meta.block.number });

const apollo = new ApolloClient({ link: new GraphQLWsLink(socket()), cache: new InMemoryCache() });
apollo.subscribe({ query: gql(SWAPS), fetchPolicy: 'no-cache' }).subscribe({ next: ({ data }) => told('apollo', data), error: failed('apollo') });
const asked = await apollo.query({ query: gql(META), fetchPolicy: 'no-cache' });
say({ client: 'apollo', block: asked.data._meta.block.number });

const urqlSocket = socket();
const urql = createUrql({
  url: httpUrl,
  preferGetMethod: false,
  exchanges: [
    fetchExchange,
    subscriptionExchange({
      forwardSubscription: ({ query, variables }) => ({
        subscribe: (sink) => ({ unsubscribe: urqlSocket.subscribe({ query: query ?? '', variables }, sink) }),
      }),
    }),
  ],
});
pipe(urql.subscription(SWAPS, {}), follow(({ data, error }) => (error ? failed('urql')(error) : told('urql', data))));
const answer = await pipe(urql.query(META, {}), take(1), toPromise);
say({ client: 'urql', block: answer.data?._meta.block.number, ...(answer.error ? { error: answer.error.message } : {}) });

for (const audit of serverAudits({ url: httpUrl, fetchFn: fetch })) {
  const { status, reason } = await audit.fn();
  say({ audit: audit.name, status, ...(reason ? { reason } : {}) });
}
say({ audited: true });
