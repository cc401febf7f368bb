#!/usr/bin/env bash
# The official scripts compute a process' memory from its configuration; here it is what fits the containers under test.
set -euo pipefail
if [ "${1:-}" != start-foreground ]; then echo "usage: ${0##*/} start-foreground" >&2; exit 2; fi
shift
path='/opt/flink/lib/*'
opens=$(sed -n 's/^env.java.opts.all: //p' "$FLINK_CONF_DIR/config.yaml")
case ${0##*/} in
  jobmanager.sh)
    jvm=(-Xmx512m) class=runtime.entrypoint.StandaloneSessionClusterEntrypoint
    set -- --configDir "$FLINK_CONF_DIR" "$@"
    ;;
  taskmanager.sh)
    jvm=(-Xmx768m -XX:MaxDirectMemorySize=320m) class=runtime.taskexecutor.TaskManagerRunner
    set -- --configDir "$FLINK_CONF_DIR" -Dtaskmanager.cpu.cores=2 -Dtaskmanager.memory.framework.heap.size=128m \
      -Dtaskmanager.memory.task.heap.size=640m -Dtaskmanager.memory.framework.off-heap.size=128m \
      -Dtaskmanager.memory.task.off-heap.size=0m -Dtaskmanager.memory.network.min=96m \
      -Dtaskmanager.memory.network.max=96m -Dtaskmanager.memory.managed.size=192m \
      -Dtaskmanager.memory.jvm-metaspace.size=256m -Dtaskmanager.memory.jvm-overhead.min=192m \
      -Dtaskmanager.memory.jvm-overhead.max=192m "$@"
    ;;
  sql-gateway.sh)
    jvm=(-Xmx512m) class=table.gateway.SqlGateway
    path="$path:$(echo /opt/flink/opt/flink-sql-gateway-*.jar)"
    ;;
esac
export FLINK_LIB_DIR=/opt/flink/lib FLINK_OPT_DIR=/opt/flink/opt
# shellcheck disable=SC2086  # the options are words
exec java "${jvm[@]}" -XX:MaxMetaspaceSize=320m -XX:+UseSerialGC $opens \
  -Dlog4j.configurationFile="file://$FLINK_CONF_DIR/log4j-console.properties" \
  -cp "$path" "org.apache.flink.$class" "$@"
