"""Tables of jobs that have settled, and of histograms: what was observed once and is never restated."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, PrimaryKeyConstraint, String, Table

from exporter.store.schema import measures, metadata

job_open = Table(
    "job_open",  # jobs that the watermark has passed a row of, and that have not settled yet
    metadata,
    Column("source", String, nullable=False),
    Column("job", String, nullable=False),  # the log's own id
    Column("first", BigInteger, nullable=False),  # time of its oldest row
    PrimaryKeyConstraint("source", "job"),
    sqlite_with_rowid=False,
)

job_day = Table(
    "job_day",
    metadata,
    Column("source", String, nullable=False),
    Column("day", BigInteger, nullable=False),  # business day of a job's last row
    Column("status", String, nullable=False),  # canonical, of the job
    Column("jobs", BigInteger, nullable=False),
    PrimaryKeyConstraint("source", "day", "status"),
    sqlite_with_rowid=False,
)

job_passed = Table(
    "job_passed",
    metadata,
    Column("source", String, nullable=False),
    Column("day", BigInteger, nullable=False),  # business day of the rows
    Column("rows", BigInteger, nullable=False),  # with a job, before the watermark: more of them later are late
    PrimaryKeyConstraint("source", "day"),
    sqlite_with_rowid=False,
)

job_total = Table(
    "job_total",  # the rows of settled jobs, as usage_segment has them
    metadata,
    Column("source", String, nullable=False),
    Column("day", BigInteger, nullable=False),  # of the job, as in job_day
    Column("status", String, nullable=False),  # of the job
    Column("superseded", Integer, nullable=False),  # 1: succeeded, and a later attempt of the job, too
    Column("start", BigInteger, nullable=False),  # of the rows' segment
    Column("key_id", Integer, nullable=False),
    Column("facet", Integer, nullable=False),
    Column("requests", BigInteger, nullable=False),
    *measures(),
    PrimaryKeyConstraint("source", "day", "status", "superseded", "start", "key_id", "facet"),
    sqlite_with_rowid=False,
)

histogram = Table(
    "histogram",
    metadata,
    Column("metric", String, nullable=False),
    Column("labels", String, nullable=False),  # JSON, in the order of the metric's declaration
    Column("bound", String, nullable=False),  # the smallest bucket that holds them, "+Inf" above all
    Column("observations", BigInteger, nullable=False),  # in this bucket alone
    Column("total", String, nullable=False),  # integer as text: their sum × 10⁹
    PrimaryKeyConstraint("metric", "labels", "bound"),
    sqlite_with_rowid=False,
)

latency_counted = Table(
    "latency_counted",  # of the buckets in the re-read window
    metadata,
    Column("source", String, nullable=False),
    Column("bucket", BigInteger, nullable=False),
    Column("provider", String, nullable=False),  # raw
    Column("status", String, nullable=False),  # canonical
    Column("bound", String, nullable=False),  # as in histogram
    Column("rows", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),  # 10⁻⁶ seconds
    PrimaryKeyConstraint("source", "bucket", "provider", "status", "bound"),
    sqlite_with_rowid=False,
)
