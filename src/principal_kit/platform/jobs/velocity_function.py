"""The velocity rule as a PyFlink process function: the twin of the view `velocity` in fraud.sql. Runs in PyFlink.

Everything before the pattern is the same SQL for both: source, contract, first copy wins. Arguments: a JSON file with
those statements and the INSERT that takes the alerts. `velocity.py` comes along as one of the job's `python.files`.
"""

import json
import re
import sys
from pathlib import Path

from pyflink.common import Row, Types
from pyflink.common.time import Time
from pyflink.datastream import KeyedProcessFunction, StreamExecutionEnvironment
from pyflink.datastream.state import StateTtlConfig, ValueStateDescriptor
from pyflink.table import StreamTableEnvironment
from velocity import Card

ORDERS = "SELECT event_id, card_id, amount_cents, happened_at FROM orders_once WHERE NOT late"
ALERT = Types.ROW_NAMED(
    ["card_id", "first_ms", "last_ms", "orders", "cents"],
    [Types.STRING(), Types.LONG(), Types.LONG(), Types.LONG(), Types.LONG()],
)


class Velocity(KeyedProcessFunction):
    """A thin shell around `Card`: loads it from the key's state, asks for timers, stores it again."""

    def __init__(self, rule):
        self.rule = rule

    def open(self, context):
        """The state of a card. A timer clears it in event time; the TTL, in processing time, is the net below that:
        for a card on a partition whose time has stopped, so that its timer never fires."""
        memory = ValueStateDescriptor("card", Types.PICKLED_BYTE_ARRAY())
        memory.enable_time_to_live(StateTtlConfig.new_builder(Time.hours(1)).build())
        self.memory = context.get_state(memory)

    def process_element(self, order, context):
        """An order, in the order of arrival."""
        event_id, _, cents, _ = order
        card, t, timers = self.load(), context.timestamp(), context.timer_service()
        if card.arrive(event_id, t, cents, timers.current_watermark()):
            timers.register_event_time_timer(t)
            self.store(card)

    def on_timer(self, timestamp, context):
        """Event time has come so far for this card's key."""
        card = self.load()
        for alert in card.advance(timestamp):
            yield Row(context.get_current_key(), *alert)
        if card.forget_at is not None:
            context.timer_service().register_event_time_timer(card.forget_at)
        self.store(card)

    def load(self):
        """The card of the current key."""
        return Card(*(self.memory.value() or ()), **self.rule)

    def store(self, card):
        """Keep it, or nothing if there is nothing to keep."""
        self.memory.clear() if card.empty else self.memory.update((card.waiting, card.recent))


def main(job):
    """Build the job and submit it."""
    tables = StreamTableEnvironment.create(StreamExecutionEnvironment.get_execution_environment())
    for statement in job["statements"]:
        if option := re.fullmatch(r"SET '([^']+)' = '([^']*)'", statement):  # of the gateway and the SQL client only
            tables.get_config().set(*option.groups())
        else:
            tables.execute_sql(statement)
    orders = tables.to_data_stream(tables.sql_query(ORDERS))
    alerts = orders.key_by(lambda order: order[1], key_type=Types.STRING()).process(Velocity(job["rule"]), ALERT)
    tables.create_temporary_view("velocity_by_hand", tables.from_data_stream(alerts))
    tables.execute_sql(job["insert"])


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
