# Scopegate as a container: `npm run build` makes a few files of the program and all that it uses, and the image
# holds nothing else beside Node.
FROM node:26-slim AS build

WORKDIR /build

# The optional packages of the program are Node itself, which the base image brings; esbuild brings its own.
COPY package.json package-lock.json .npmrc ./
RUN npm ci --ignore-scripts

COPY gateway gateway
COPY deploy/build.ts deploy/
RUN npm run build

FROM node:26-slim

LABEL org.opencontainers.image.title="Scopegate" \
      org.opencontainers.image.description="Fine-grained tokens in front of REST APIs, git servers and container registries" \
      org.opencontainers.image.licenses="Apache-2.0"

WORKDIR /app

COPY --from=build /build/dist dist
COPY package.json ./
COPY config config

# The token database lives here: mount a volume, or every token ends with the container.
RUN mkdir -p var && chown 65532:65532 var
VOLUME /app/var

# The default configuration listens on loopback, where no port of a container can be published.
ENV NODE_ENV=production SCOPEGATE_HOST=0.0.0.0
USER 65532:65532
EXPOSE 8080
STOPSIGNAL SIGTERM

# The management listener's usual address; not for Kubernetes, which asks by itself.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
  CMD ["node", "-e", "fetch('http://127.0.0.1:9090/livez').then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]

ENTRYPOINT ["node", "dist/main.js"]
CMD ["serve"]
