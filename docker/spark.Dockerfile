# Spark's own distribution on the book's Python: a Python UDF needs the version and the packages of the notebook that
# sends it. Build after the book's image, from the project's root:
#   docker build -f docker/spark.Dockerfile -t principal-kit-spark .
ARG SPARK=apache/spark:4.1.1-scala2.13-java17-python3-ubuntu
ARG BOOK=principal-kit-book:0.1.0
FROM ${SPARK} AS spark

FROM ${BOOK}
USER root
# Relied on of the official image: the distribution is in /opt/spark, with bin/ and jars/.
COPY --from=spark /opt/spark /opt/spark
# Volumes mounted on these folders take their owner from here.
RUN mkdir -p /opt/spark/work-dir /opt/spark/logs \
    && chown reader:reader /opt/spark/work-dir /opt/spark/logs \
    && ln -s "$(HOME=/home/reader python -c 'from principal_kit.services import jars; print(jars.directory("spark-kafka"))')" /opt/connectors \
    && test -n "$(ls /opt/connectors/)"
ENV SPARK_HOME=/opt/spark \
    PYSPARK_PYTHON=python \
    PYSPARK_DRIVER_PYTHON=python
USER reader
WORKDIR /opt/spark/work-dir
CMD ["/opt/spark/bin/spark-submit", "--version"]
