# Two images of one context, which tests/gate/context.sh puts together; `make image` builds both.
#
#   shipway         the static binary, certificate authorities and a small shell; the last stage, so it is the one without --target
#   shipway-maven   the binary on top of a Maven image, with several JDKs, for jobs that build; --target shipway-maven
#
# Neither has a RUN, so Shipway's own engine builds the first: image.dockerfile: Dockerfile, image.context: target/image.
ARG MAVEN=maven:3.9-eclipse-temurin-21
ARG JDK_8=eclipse-temurin:8-jdk
ARG JDK_17=eclipse-temurin:17-jdk
ARG JDK_25=eclipse-temurin:25-jdk

FROM ${JDK_8} AS jdk-8
FROM ${JDK_17} AS jdk-17
FROM ${JDK_25} AS jdk-25

FROM ${MAVEN} AS shipway-maven
LABEL org.opencontainers.image.title="shipway-maven" \
      org.opencontainers.image.description="From a commit to running pods in one CI step, with Maven and JDKs" \
      org.opencontainers.image.licenses="Apache-2.0"
# One of the places where Shipway looks for JDKs; the Maven image's own stays where it is.
COPY --from=jdk-8 /opt/java/openjdk /opt/jdk/8
COPY --from=jdk-17 /opt/java/openjdk /opt/jdk/17
COPY --from=jdk-25 /opt/java/openjdk /opt/jdk/25
COPY binary/shipway /usr/local/bin/shipway
# No entry point: GitLab starts a shell in the image, Drone and Woodpecker start the image as it is.
ENTRYPOINT []
CMD ["/usr/local/bin/shipway"]

FROM scratch AS shipway
LABEL org.opencontainers.image.title="shipway" \
      org.opencontainers.image.description="From a commit to running pods in one CI step" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY root /
COPY --chown=10001:10001 home /home
# last, as nothing else changes from version to version
COPY binary/shipway /usr/local/bin/shipway
ENV PATH=/usr/local/bin:/usr/bin:/bin HOME=/home/shipway SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
USER 10001:10001
WORKDIR /home/shipway
CMD ["/usr/local/bin/shipway"]
