# Made by vrooli-deploy from the app's own build steps. A Dockerfile beside the manifest is used instead.
FROM docker.io/library/rust@sha256:1111111111111111111111111111111111111111111111111111111111111111 AS build
ENV SCENARIO_NAME="picker-wheel"
ENV VROOLI_API_SKIP_STALE_CHECK="true"
ENV VROOLI_LIFECYCLE_MANAGED="true"
WORKDIR /app
COPY . .

# build-api
# hadolint ignore=DL3003,DL4006,SC2086
RUN --mount=type=cache,sharing=locked,target=/usr/local/cargo/registry \
    cd api && cargo build --release --locked --target-dir target && install -m 755 target/release/picker-wheel-api . && install -m 755 target/release/picker-wheel-ui ../ui/

# build-ui
# hadolint ignore=DL3003,DL4006,SC2086
RUN cd ui && rm -rf dist && cp -R src dist

# What only the build needed goes; certificates for calls to others, and what is written to, stay
RUN mkdir -p /rootfs/etc/ssl/certs /writable \
 && if test -d /app/data; then cp -R /app/data/. /writable/; fi \
 && if test -e /etc/ssl/certs/ca-certificates.crt; then cp -L /etc/ssl/certs/ca-certificates.crt /rootfs/etc/ssl/certs/ca-certificates.crt; fi \
 && rm -rf /app/api/target

FROM docker.io/library/debian@sha256:4444444444444444444444444444444444444444444444444444444444444444 AS runtime
COPY --from=build /rootfs /
COPY --from=build /app /app
# What the app writes there is gone with the container
COPY --from=build --chown=10001:10001 /writable /app/data
# Everybody comes from outside
ENV HOME=/tmp HOST=0.0.0.0
USER 10001:10001
WORKDIR /app
