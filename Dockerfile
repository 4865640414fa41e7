# The image that a CI step runs: the static binary on top of a Maven image with its JDK and git.
# It has no RUN, so Shipway's own engine builds it, too: image.dockerfile: Dockerfile.
ARG BASE=maven:3.9-eclipse-temurin-21
FROM ${BASE}
LABEL org.opencontainers.image.title="shipway" \
      org.opencontainers.image.description="From a commit to running pods in one CI step"
COPY target/x86_64-unknown-linux-gnu/release/shipway /usr/local/bin/shipway
# No entrypoint: GitLab starts a shell in the image, Drone and Woodpecker start the image as it is.
ENTRYPOINT []
CMD ["/usr/local/bin/shipway"]
