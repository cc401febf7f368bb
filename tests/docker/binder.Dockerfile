# What repo2docker does with this repository, in its order: an ordinary user, the repository in the home folder, the
# environment of environment.yml, postBuild last. Python, Java, Maven, Redis, PostgreSQL and make come from Debian here, because
# conda-forge is what Binder has and this test may not; their names and pins are checked against environment.yml.
ARG BASE
FROM ${BASE}
RUN apt-get update \
    && apt-get install -y --no-install-recommends openjdk-17-jre-headless maven redis-server postgresql make \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 --shell /bin/bash jovyan
ENV USER=jovyan HOME=/home/jovyan REPO_DIR=/home/jovyan PATH=/home/jovyan/.local/bin:$PATH PYTHONUNBUFFERED=1
WORKDIR /home/jovyan
USER jovyan
# The pip part of environment.yml, as conda would call it: one pip, the lock file with its hashes.
COPY --chown=1000:1000 environment.yml requirements.lock ./
RUN python -m pip install --no-cache-dir --user --require-hashes -r requirements.lock
COPY --chown=1000:1000 . .
RUN ./postBuild
CMD ["jupyter", "notebook", "--ip", "0.0.0.0"]
