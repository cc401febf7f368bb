"""Counts per key in state, told by an event-time timer when the stream ends. Runs in PyFlink's own environment."""

import sys

from pyflink.common import Encoder, Types
from pyflink.datastream import KeyedProcessFunction, StreamExecutionEnvironment
from pyflink.datastream.connectors.file_system import FileSink
from pyflink.datastream.state import ValueStateDescriptor


class Count(KeyedProcessFunction):
    def open(self, context):
        self.count = context.get_state(ValueStateDescriptor("count", Types.LONG()))

    def process_element(self, value, context):
        self.count.update((self.count.value() or 0) + 1)
        context.timer_service().register_event_time_timer(10)

    def on_timer(self, timestamp, context):
        yield f"{context.get_current_key()} {self.count.value()}"


environment = StreamExecutionEnvironment.get_execution_environment()
numbers = [(i % 3, i) for i in range(99)]
stream = environment.from_collection(numbers, type_info=Types.TUPLE([Types.LONG(), Types.LONG()]))
counts = stream.key_by(lambda pair: pair[0], key_type=Types.LONG()).process(Count(), output_type=Types.STRING())
counts.sink_to(FileSink.for_row_format(sys.argv[1], Encoder.simple_string_encoder()).build())
environment.execute("count by key")
