"""Writes a run's metrics by Prometheus remote write 1.0: protobuf, compressed by Snappy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import cramjam
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from prometheus_client.core import Metric

from proofload.core.errors import ToolError
from proofload.core.units import NS_PER_MS
from proofload.observe.side_channel import call
from proofload.plan.masking import masked_text
from proofload.telemetry.push import JOB

_HEADERS = {
    "Content-Type": "application/x-protobuf",
    "Content-Encoding": "snappy",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
    "User-Agent": "proofload",
}
_Field = descriptor_pb2.FieldDescriptorProto


class RemoteWrite:
    """A receiver of remote write. What one write misses the next one makes up for: counters hold the whole sum."""

    def __init__(self, url: str, run: str) -> None:
        self.name = "remote_write"
        self.told = masked_text(url)
        self._url = url
        self._labels = {"job": JOB, "run": run}

    async def write(self, families: Sequence[Metric], wall_ns: int) -> None:
        """Write every sample as of this instant. Raises ToolError where it is not taken."""
        body = compressed(message(families, self._labels, wall_ns // NS_PER_MS))
        answer = await call("POST", self._url, body=body, headers=_HEADERS)
        if not answer.ok:
            raise ToolError(f"{self.told}: {answer.told}")


def message(families: Sequence[Metric], labels: Mapping[str, str], at_ms: int) -> bytes:
    """Return a `WriteRequest` with one sample for each series, its labels in the order that the protocol asks for."""
    request = write_request()()
    for family in families:
        for sample in family.samples:
            series = request.timeseries.add()
            whole = {**sample.labels, **labels, "__name__": sample.name}
            for name in sorted(whole):
                series.labels.add(name=name, value=whole[name])
            series.samples.add(value=float(sample.value), timestamp=at_ms)
    return bytes(request.SerializeToString())


def compressed(content: bytes) -> bytes:
    """Return the content in Snappy's block format."""
    return bytes(cramjam.snappy.compress_raw(content))


@cache
def write_request() -> Any:
    """Return the class of `prometheus.WriteRequest`, from a descriptor of the fields that we write.

    The numbers of the fields are those of the remote write specification 1.0.
    """
    file = descriptor_pb2.FileDescriptorProto(name="proofload/remote_write.proto", package="prometheus")
    file.syntax = "proto3"
    string, double, int64 = _Field.TYPE_STRING, _Field.TYPE_DOUBLE, _Field.TYPE_INT64
    _message(file, "Label", [("name", 1, string), ("value", 2, string)])
    _message(file, "Sample", [("value", 1, double), ("timestamp", 2, int64)])
    _message(file, "TimeSeries", [("labels", 1, "Label"), ("samples", 2, "Sample")])
    _message(file, "WriteRequest", [("timeseries", 1, "TimeSeries")])
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("prometheus.WriteRequest"))


def _message(file: descriptor_pb2.FileDescriptorProto, name: str, fields: Sequence[tuple[str, int, Any]]) -> None:
    """Add a message; a type given as a text is a repeated message of that name."""
    made = file.message_type.add(name=name)
    for field, number, kind in fields:
        if isinstance(kind, str):
            made.field.add(
                name=field,
                number=number,
                label=_Field.LABEL_REPEATED,
                type=_Field.TYPE_MESSAGE,
                type_name=f".prometheus.{kind}",
            )
        else:
            made.field.add(name=field, number=number, label=_Field.LABEL_OPTIONAL, type=kind)
