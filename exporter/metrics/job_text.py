"""The catalogue's paragraphs on jobs and wasted spend, in the form of ``catalogue._TEXT``."""

from __future__ import annotations

from typing import Final

TEXT: Final = """
# Jobs and latency
What the rows of one job id took together, and what was paid for nothing (docs/usage-log.md). A job settles when its
last row is final and older than the re-read window.

gauge margin_jobs{status,window}
    Settled jobs whose last row lies on a business day that the window touches, by status of the job: succeeded when any
    row did. Absent while the beginning of the window has not had time to settle. @usage

gauge margin_job_cost_amount{status,window,currency}
    Cost of all rows of the settled jobs in the window, at the price in force at each row's own time, major units of the
    reporting currency. Divided by the jobs that succeeded it is the cost per successful job. @usage

gauge margin_wasted_cost_amount{provider,reason,window,currency}
    Part of margin_cost_amount in the window that made nothing, major units of the reporting currency: rows that failed,
    were moderated or canceled; superseded are successes of settled jobs that a later attempt replaced. @usage

histogram margin_job_settled_cost_amount{status,currency}
    Cost of jobs as they settled, major units of the reporting currency, at the prices of that moment. Each job is
    observed once and never restated; those without a whole price are in margin_jobs_unpriced_total. @usage

histogram margin_usage_latency_seconds{provider,status}
    How long calls took, by their final status, since the log was first read whole. Each row is observed once; what is
    negative or longer than 100 days is not. @usage

gauge margin_jobs_settled_until_timestamp_seconds{source}
    Jobs whose last row is before this have settled, but for those with a row that is still open.

counter margin_jobs_unpriced_total{source}
    Settled jobs of which a row has no price or no exchange rate: they are in no histogram. @usage

counter margin_job_late_rows_total{source}
    Rows of a job that came after their job had settled, or for a time whose jobs had. Their cost is in no figure of
    jobs. @usage
"""
