# Flink's own image with the connectors that the kit's embedded Flink has; compose's profile `pipeline` runs it as well.
# Build after the book's, from the project's root:
#   docker build -f deploy/kubernetes/flink.Dockerfile -t principal-kit-flink:0.1.0 .
ARG FLINK=flink:2.1.3-java17
ARG BOOK=principal-kit-book:0.1.0
FROM ${BOOK} AS book
# Everything of the kit's set that Flink's distribution does not carry itself, and the format that the jobs read with. The
# book's image has not fetched that set: only one chapter needs it.
RUN python -c "from principal_kit.services import jars; [jars.fetch(name) for name in (*jars.NEEDS['flink'], 'flink')]" \
    && mkdir /home/reader/connectors \
    && cd "$(python -c 'from principal_kit.services import jars; print(jars.directory("flink"))')" \
    && cp flink-connector-*.jar iceberg-*.jar hadoop-*.jar kafka-clients-*.jar postgresql-*.jar commons-*.jar \
       lz4-*.jar snappy-*.jar zstd-*.jar /home/reader/connectors/ \
    && cp "$(python -c 'from principal_kit.services import flink_format; print(flink_format.jar())')" /home/reader/connectors/

FROM ${FLINK}
COPY --from=book /home/reader/connectors/ /opt/flink/lib/
USER root
# Compose runs it as uid 1000, the book's, so that both write /lake. Hadoop's login fails for a user that has no name.
RUN { getent passwd 1000 || useradd --uid 1000 --no-create-home reader; } >/dev/null \
    && mkdir /lake && chown 1000:1000 /lake # compose's volume takes its owner from here
USER flink
