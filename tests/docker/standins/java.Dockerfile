# What the stand-ins of Kafka and Spark share.
ARG ROOT
FROM ${ROOT}
RUN apt-get update \
    && apt-get install -y --no-install-recommends openjdk-17-jre-headless wget procps \
    && rm -rf /var/lib/apt/lists/*
