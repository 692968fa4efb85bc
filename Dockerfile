# Builds the engine with its web page, GraphiQL and the REST reference inside, and puts it alone on a base without a shell.
#
#   docker build -t swaptide .
#   docker run -v "$PWD/swaptide.toml:/etc/swaptide/swaptide.toml:ro" -v swaptide:/data -p 127.0.0.1:8080:8080 swaptide
#
# In the container 127.0.0.1 is the container: name a node on the host as host.docker.internal, or use `--network host`.
#
# The base images are arguments, so that a registry of your own, or none at all, can be used (`cargo xtask image` does the latter).
# RUNTIME_IMAGE needs glibc 2.36 or newer and libgcc, and nothing else: Debian bookworm and newer do as well.
ARG RUST_IMAGE=docker.io/library/rust:1.95.0-slim-bookworm
ARG NODE_IMAGE=docker.io/library/node:22-bookworm-slim
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian12:nonroot

# GraphiQL and the REST reference, which the build embeds. npm verifies each package against the lock file; no chain is needed here, so no anvil.
FROM ${NODE_IMAGE} AS graphiql
WORKDIR /parts
COPY demo/package.json demo/package-lock.json demo/.npmrc ./
RUN npm ci --ignore-scripts --omit=optional

FROM ${RUST_IMAGE} AS chef
# A C compiler for SQLite and ring, make for the allocator, certificates for the registry.
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates gcc libc6-dev make \
 && rm -rf /var/lib/apt/lists/*
# It only writes files and starts cargo: not worth the minute that optimising it takes.
RUN cargo install --locked --debug --root /usr/local cargo-chef@0.1.78
WORKDIR /src

# What the dependencies follow from: manifests and lock file. Most changes of the source leave this recipe as it is …
FROM chef AS recipe
COPY . .
RUN cargo chef prepare --recipe-path /recipe.json

FROM chef AS build
# … and then this layer, nine tenths of the build, is taken from the cache.
COPY --from=recipe /recipe.json /recipe.json
RUN cargo chef cook --release --locked --package swaptide --bin swaptide --recipe-path /recipe.json
COPY . .
# The same files under the same names as `cargo xtask parts` puts there; `cargo xtask ops` compares the two.
COPY --from=graphiql /parts/node_modules/react/umd/react.production.min.js \
                     /parts/node_modules/react-dom/umd/react-dom.production.min.js \
                     /parts/node_modules/graphiql/graphiql.min.js \
                     /parts/node_modules/graphiql/graphiql.min.css \
                     /parts/node_modules/swagger-ui-dist/swagger-ui-bundle.js \
                     /parts/node_modules/swagger-ui-dist/swagger-ui.css \
                     /parts/node_modules/swagger-ui-dist/swagger-ui-bundle.js.LICENSE.txt web/vendor/
COPY --from=graphiql /parts/node_modules/graphiql/LICENSE web/vendor/graphiql.LICENSE.txt
COPY --from=graphiql /parts/node_modules/swagger-ui-dist/LICENSE web/vendor/swagger-ui.LICENSE.txt
COPY --from=graphiql /parts/node_modules/swagger-ui-dist/NOTICE web/vendor/swagger-ui.NOTICE.txt
RUN cargo build --release --locked --package swaptide --bin swaptide \
 && strip target/release/swaptide \
 && mkdir /data

FROM ${RUNTIME_IMAGE}
# Needed to check the certificates of wss:// and https:// endpoints, where the base has none.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /src/LICENSE-MIT /src/LICENSE-APACHE /usr/share/doc/swaptide/
COPY --from=build --chown=65532:65532 /data /data
COPY --from=build /src/target/release/swaptide /usr/local/bin/swaptide
# The user `nonroot` of distroless; any base takes the number.
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
# There is no shell and no curl to ask with: the engine asks itself.
HEALTHCHECK --interval=15s --timeout=3s --start-period=10s --retries=3 CMD ["swaptide", "health"]
ENTRYPOINT ["swaptide"]
CMD ["run", "-c", "/etc/swaptide/swaptide.toml"]
# Last, because they differ in each build: `--build-arg VERSION=0.1.0 --build-arg REVISION=$(git rev-parse HEAD)`.
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Swaptide" \
      org.opencontainers.image.description="The real-time backend of a decentralized exchange" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
