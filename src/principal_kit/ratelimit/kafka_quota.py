"""Kafka's own rate limiter, set from Python: client quotas, enforced by the broker through delay instead of refusal.

kafka-python ships the protocol message but no call for it; this is that call. The broker averages over its quota
windows (by default 11 of one second), so a producer that was silent may burst ten seconds' worth before it is slowed.
"""

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING

from principal_kit.core.errors import InvalidArgument, ServiceError
from principal_kit.ratelimit.decision import positive_fraction

if TYPE_CHECKING:
    from kafka import KafkaAdminClient

BURST_SECONDS = 10  # (quota.window.num - 1) * quota.window.size.seconds at the broker's defaults


def set_producer_quota(admin: KafkaAdminClient, client_id: str, bytes_per_second: Real | None) -> None:
    """Limit what producers with this `client_id` may write to each broker; None removes the limit.

    Raises InvalidArgument on an empty client id or a rate that is not positive and finite, ServiceError on refusal.
    Source: KIP-13 (quotas), KIP-219 (throttling), KIP-546 (this API).
    """
    from kafka.protocol.admin import AlterClientQuotasRequest

    if not client_id:
        raise InvalidArgument("client_id is empty, expected the client.id that producers use")
    if bytes_per_second is not None:
        positive_fraction("bytes_per_second", bytes_per_second, "bytes per second")
    Entry = AlterClientQuotasRequest.EntryData
    entity = Entry.EntityData(entity_type="client-id", entity_name=client_id)
    change = Entry.OpData(key="producer_byte_rate", value=float(bytes_per_second or 0), remove=bytes_per_second is None)
    request = AlterClientQuotasRequest(entries=[Entry(entity=[entity], ops=[change])], validate_only=False)
    response = admin._manager.run(admin._manager.send, request)
    for entry in response.entries:
        if entry.error_code:
            reason = f"error {entry.error_code} {entry.error_message or ''}"
            raise ServiceError(f"the broker refused the quota of {client_id!r}: {reason}")
