# Builds the engine with its web page and GraphiQL inside, and puts it alone on a small base.
#
#   docker build -t swaptide .
#   docker run -v "$PWD/swaptide.toml:/etc/swaptide/swaptide.toml:ro" -v swaptide:/data -p 8080:8080 swaptide
#
# In the container 127.0.0.1 is the container: name a node on the host as host.docker.internal, or use `--network host`.
#
# The base images are arguments, so that a registry of your own, or none at all, can be used.
ARG RUST_IMAGE=docker.io/library/rust:1.95.0-slim-bookworm
ARG NODE_IMAGE=docker.io/library/node:22-bookworm-slim
ARG RUNTIME_IMAGE=docker.io/library/debian:bookworm-slim

FROM ${NODE_IMAGE} AS node

FROM ${RUST_IMAGE} AS build
# A C compiler for SQLite and ring, certificates for the registries; nothing happens where the image has them.
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates gcc libc6-dev \
 && rm -rf /var/lib/apt/lists/*
# npm with its Node, for the one step that fetches GraphiQL.
COPY --from=node /usr/local/bin/node /usr/local/bin/node
COPY --from=node /usr/local/lib/node_modules /usr/local/lib/node_modules
RUN ln -sf ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm
WORKDIR /src
COPY . .
# Fills web/vendor/, which the build embeds; each package is verified against demo/package-lock.json.
# There is no chain in the image, so no anvil is asked for.
RUN SWAPTIDE_ANVIL=none cargo xtask parts
RUN cargo build --release --locked --package swaptide --bin swaptide \
 && strip target/release/swaptide \
 && mkdir /data

FROM ${RUNTIME_IMAGE}
# Needed to check the certificates of wss:// and https:// endpoints.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /src/target/release/swaptide /usr/local/bin/swaptide
COPY --from=build /src/LICENSE-MIT /src/LICENSE-APACHE /usr/share/doc/swaptide/
COPY --from=build --chown=65532:65532 /data /data
USER 65532:65532
# The default store, sqlite:swaptide.db, is relative to here.
WORKDIR /data
VOLUME ["/data"]
# Loopback would not be reachable from outside. They win over the file: change them here or with `-e`.
# Publish 8080 only: 9464 is for the operator.
ENV SWAPTIDE__API__LISTEN=0.0.0.0:8080 \
    SWAPTIDE__ADMIN__LISTEN=0.0.0.0:9464
EXPOSE 8080 9464
STOPSIGNAL SIGTERM
# The base has no curl; bash can open a socket.
HEALTHCHECK --interval=15s --timeout=3s --start-period=10s --retries=3 \
  CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/9464 && printf 'GET /health HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n' >&3 && read -r line <&3 && [[ $line == *' 200 '* ]]"]
ENTRYPOINT ["swaptide"]
CMD ["run", "-c", "/etc/swaptide/swaptide.toml"]
