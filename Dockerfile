# syntax=docker/dockerfile:1.26.0@sha256:ecfaec9ed6d810b56388c508f4121597bfbba70d41a6dfeee4d8cad5f295fc32

# The executable for an external PostgreSQL (DATABASE_URL), in an image without a shell.
#
#   docker build -t conduit .
#   docker buildx build --platform=linux/amd64,linux/arm64 -t conduit .

# Runs on the building machine's platform: Bun compiles for other platforms, so nothing is emulated.
FROM --platform=$BUILDPLATFORM node:24.21.0-trixie-slim@sha256:8ec5d7557396cfe32d21c3f9c13072355ceab22b584578ca4bb28af31120cffe AS build
WORKDIR /build
# "npm ci" needs the package.json of every workspace. Without the sources, this layer stays cached when code changes.
COPY package.json package-lock.json tsconfig.json ./
COPY packages/client/package.json packages/client/
COPY packages/embedded-postgres/package.json packages/embedded-postgres/
RUN --mount=type=cache,target=/root/.npm npm ci --omit=dev --no-audit --no-fund
COPY migrations migrations
COPY packages/embedded-postgres packages/embedded-postgres
COPY scripts/build.ts scripts/build.ts
COPY src src
ARG TARGETARCH
RUN case "$TARGETARCH" in amd64) arch=x64 ;; *) arch=$TARGETARCH ;; esac \
 && node_modules/.bin/bun scripts/build.ts --target=bun-linux-$arch --outfile=dist/conduit

# glibc and root certificates; no shell, no package manager. User 65532.
FROM gcr.io/distroless/base-nossl-debian13:nonroot@sha256:8c563c1fb5e120606f0d85733049775faed6192e2bd2223ef283a5393eec22b9
COPY --from=build /build/dist/conduit /conduit
ENV NODE_ENV=production PORT=3000 METRICS_PORT=9090 METRICS_HOST=0.0.0.0
EXPOSE 3000 9090
USER 65532:65532
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["/conduit", "health"]
ENTRYPOINT ["/conduit"]
CMD ["serve"]
