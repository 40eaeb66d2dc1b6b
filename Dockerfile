# Two stages: the toolchain stays behind; what runs is one binary, the bundled plugins and TLS roots, as a user without rights.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked -p laterna && cp target/release/laterna /laterna

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /var/lib/laterna --create-home laterna
COPY --from=build /laterna /usr/local/bin/laterna
COPY --from=build --chown=laterna /src/plugins/*.wasm /var/lib/laterna/plugins/
USER laterna
WORKDIR /var/lib/laterna
# A volume mounted here keeps this owner.
RUN mkdir -p .laterna/cache
# Inside a container the address must be reachable from outside of it; publish the port on 127.0.0.1 only.
ENV LATERNA__HTTP__LISTEN=0.0.0.0:8484 LATERNA__HTTP__ALLOW_REMOTE=true
EXPOSE 8484
# Another port or TLS in front: set LATERNA_URL. What is not ready is in `docker inspect`; Kubernetes restarts by /livez.
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s CMD ["laterna", "healthcheck"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["laterna"]
CMD ["run"]
