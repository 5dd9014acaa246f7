# Made by vrooli-deploy from the app's own build steps. A Dockerfile beside the manifest is used instead.
FROM docker.io/library/node@sha256:3333333333333333333333333333333333333333333333333333333333333333 AS node-for-build

FROM docker.io/library/golang@sha256:2222222222222222222222222222222222222222222222222222222222222222 AS build
COPY --from=node-for-build /usr/local/bin/node /usr/local/bin/node
COPY --from=node-for-build /usr/local/lib/node_modules /usr/local/lib/node_modules
RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm && ln -s ../lib/node_modules/npm/bin/npx-cli.js /usr/local/bin/npx
ENV SCENARIO_NAME="guest-book"
ENV VROOLI_API_SKIP_STALE_CHECK="true"
ENV VROOLI_LIFECYCLE_MANAGED="true"
WORKDIR /app
COPY . .

# `packages/iframe-bridge` is used by the app and nobody built it
WORKDIR /app/packages/iframe-bridge
RUN --mount=type=cache,sharing=locked,target=/root/.npm \
    ["npm","run","build"]

WORKDIR /app/scenarios/guest-book

# build-api
# hadolint ignore=DL3003,DL4006,SC2086
RUN --mount=type=cache,sharing=locked,target=/go/pkg/mod \
    --mount=type=cache,sharing=locked,target=/root/.cache/go-build \
    cd api && go mod download && go build -o guest-book-api .

# install-ui-deps
# hadolint ignore=DL3003,DL4006,SC2086
RUN --mount=type=cache,sharing=locked,target=/root/.npm \
    cd ui && npm install

# build-ui
# hadolint ignore=DL3003,DL4006,SC2086
RUN --mount=type=cache,sharing=locked,target=/root/.npm \
    cd ui && npm run build

# What only the build needed goes; certificates for calls to others, and what is written to, stay
RUN mkdir -p /rootfs/etc/ssl/certs /writable \
 && if test -d /app/scenarios/guest-book/data; then cp -R /app/scenarios/guest-book/data/. /writable/; fi \
 && if test -e /etc/ssl/certs/ca-certificates.crt; then cp -L /etc/ssl/certs/ca-certificates.crt /rootfs/etc/ssl/certs/ca-certificates.crt; fi

FROM docker.io/library/node@sha256:3333333333333333333333333333333333333333333333333333333333333333 AS runtime
COPY --from=build /rootfs /
COPY --from=build /app /app
# What the app writes there is gone with the container
COPY --from=build --chown=10001:10001 /writable /app/scenarios/guest-book/data
# Everybody comes from outside
ENV HOME=/tmp HOST=0.0.0.0
USER 10001:10001
WORKDIR /app/scenarios/guest-book
