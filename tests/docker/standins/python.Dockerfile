# Stands in for python:3.11-slim-bookworm. Relied on: Debian with apt-get, `python` and `pip` of 3.11 to 3.13 on PATH, root at build.
ARG ROOT
FROM ${ROOT}
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-pip python-is-python3 ca-certificates \
    && rm -rf /var/lib/apt/lists/* /usr/lib/python3*/EXTERNALLY-MANAGED
# The root's own certificates, for installers that bring a list of theirs.
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
