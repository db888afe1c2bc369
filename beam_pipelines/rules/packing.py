"""Listens as bytes. Parts are many and small, so that nothing is said twice in one.

An Arrow stream tells its schema, and each dictionary in a message of its own. Of the parts of a job
the schema is known, and their dictionaries are one.
"""

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

REPEATED: Final = ("user_id", "stream_source", "file")
"""Columns that are dictionaries in a part: few texts, each on many rows."""

_NAMES: Final = pa.schema([("name", pa.string())])


def with_dictionaries(table: pa.Table) -> pa.Table:
    """The same rows, in one chunk, the columns of `REPEATED` as dictionaries."""
    columns = [column.combine_chunks() for column in table.columns]
    return pa.table(
        [
            column.dictionary_encode() if name in REPEATED else column
            for name, column in zip(table.column_names, columns, strict=True)
        ],
        table.column_names,
    )


def pack(table: pa.Table) -> bytes:
    """A table as of `with_dictionaries`, one or more rows, as bytes."""
    dictionaries: list[pa.Array] = []
    columns: list[pa.Array] = []
    for column in table.columns:
        (values,) = column.chunks
        if pa.types.is_dictionary(values.type):
            first = sum(map(len, dictionaries))
            dictionaries.append(values.dictionary)
            values = pc.add(values.indices, pa.scalar(first, pa.int32()))
        columns.append(values)
    names = pa.RecordBatch.from_arrays([pa.concat_arrays(dictionaries)], schema=_NAMES)
    rows = pa.RecordBatch.from_arrays(columns, table.column_names)
    return b"".join([names.serialize(), rows.serialize()])


def unpack(data: bytes, schema: pa.Schema) -> pa.Table:
    """The table, with the columns of the schema, those of `REPEATED` as dictionaries."""
    stream = pa.BufferReader(data)
    packed = pa.schema(
        [(field.name, pa.int32() if field.name in REPEATED else field.type) for field in schema]
    )
    names, rows = (
        pa.ipc.read_record_batch(pa.ipc.read_message(stream), of_message)
        for of_message in (_NAMES, packed)
    )
    columns = [
        pa.DictionaryArray.from_arrays(column, names.column(0)) if name in REPEATED else column
        for name, column in zip(schema.names, rows.columns, strict=True)
    ]
    return pa.table(columns, schema.names)
