"""What all tables share."""

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import Boolean, DateTime, Integer, LargeBinary, MetaData, Text, Uuid, func
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import DeclarativeBase

# Room in each page for the next version of a row that is written at every event: such updates touch no index.
HOT = {"fillfactor": "70"}

NOW = func.clock_timestamp()
UUID = Uuid(as_uuid=False)


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: Text(),
        bytes: LargeBinary(),
        bool: Boolean(),
        int: Integer(),
        datetime: DateTime(timezone=True),
        list[str]: ARRAY(Text()),
    }
