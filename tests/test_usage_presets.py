"""The logs of other products, as those make them, read with nothing but an address and a preset."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from usage_world import NOW, Log, LogUrl, World, sqlite_url

from exporter.databaseurl import DatabaseUrl
from exporter.usagelog import UsageSettings
from exporter.usagepresets import PRESETS

AT = f"{datetime.fromtimestamp(NOW - 3600, UTC):%Y-%m-%d %H:%M:%S}"

LITELLM = (
    "CREATE TABLE \"LiteLLM_SpendLogs\" (request_id text PRIMARY KEY, call_type text NOT NULL, api_key text DEFAULT '',"
    " spend double precision DEFAULT 0, total_tokens int DEFAULT 0, prompt_tokens int DEFAULT 0,"
    ' completion_tokens int DEFAULT 0, "startTime" timestamp(3) NOT NULL, "endTime" timestamp(3),'
    " model text DEFAULT '', custom_llm_provider text DEFAULT '', \"user\" text DEFAULT '',"
    " metadata jsonb DEFAULT '{}', cache_hit text DEFAULT '', end_user text, session_id text, status text)",
    'CREATE INDEX "LiteLLM_SpendLogs_startTime_idx" ON "LiteLLM_SpendLogs" ("startTime")',
    'INSERT INTO "LiteLLM_SpendLogs" (request_id, call_type, spend, prompt_tokens, completion_tokens, "startTime",'
    ' model, custom_llm_provider, "user", metadata, end_user, session_id, status, cache_hit) VALUES'
    f" ('r1', 'acompletion', 0.0125, 1000, 200, '{AT}', 'gpt-4o', 'openai', 'u1',"
    ' \'{"additional_usage_values": {"prompt_tokens_details": {"cached_tokens": 800}}}\','
    " 'cus_a', 's1', 'success', ''),"
    f" ('r2', 'acompletion', 0.5, 4000, 10, '{AT}', 'anthropic/claude-x', '', '',"
    ' \'{"additional_usage_values": {"cache_read_input_tokens": 0, "cache_creation_input_tokens": 3000}}\','
    " '', 's1', NULL, NULL),"
    f" ('r3', 'acompletion', 0, 70, 0, '{AT}', 'gpt-4o', 'openai', 'u1', '{{\"status\": \"failure\"}}', 'cus_a', 's2',"
    " NULL, 'None'),"
    f" ('r4', 'acompletion', 0, 1000, 200, '{AT}', 'gpt-4o', 'openai', 'u1', '{{}}', 'cus_a', 's3', 'success', 'True')",
)
LANGFUSE = (
    "CREATE TABLE observations (id String, trace_id String, project_id String, environment LowCardinality(String),"
    " type LowCardinality(String), start_time DateTime64(3), end_time Nullable(DateTime64(3)), name String,"
    " metadata Map(LowCardinality(String), String), level LowCardinality(String), provided_model_name Nullable(String),"
    " usage_details Map(LowCardinality(String), UInt64), cost_details Map(LowCardinality(String), Decimal64(12)),"
    " total_cost Nullable(Decimal64(12)), created_at DateTime64(3), updated_at DateTime64(3), event_ts DateTime64(3),"
    " is_deleted UInt8) ENGINE = ReplacingMergeTree(event_ts, is_deleted) PARTITION BY toYYYYMM(start_time)"
    " PRIMARY KEY (project_id, type, toDate(start_time)) ORDER BY (project_id, type, toDate(start_time), id)",
    *(
        "INSERT INTO observations (id, trace_id, project_id, type, start_time, name, metadata, level,"
        f" provided_model_name, usage_details, total_cost, event_ts, is_deleted) VALUES {row}"
        for row in (
            f"('o1', 't1', 'p', 'GENERATION', '{AT}', 'agent', {{}}, 'DEFAULT', 'gpt-4o', {{'input': 1}}, 9, 1, 0)",
            f"('o1', 't1', 'p', 'GENERATION', '{AT}', 'agent', {{}}, 'DEFAULT', 'gpt-4o',"
            " {'input': 2140, 'input_cached_tokens': 1024, 'output': 96, 'output_reasoning_tokens': 310,"
            " 'total': 3570}, 0.001144, 2, 0)",
            f"('o2', 't1', 'p', 'SPAN', '{AT}', 'agent', {{}}, 'DEFAULT', NULL, {{}}, NULL, 1, 0)",
            f"('o3', 't2', 'p', 'GENERATION', '{AT}', 'agent', {{'ls_provider': '\"bedrock\"'}}, 'ERROR', 'claude-x',"
            " {'input': 5}, NULL, 1, 0)",
            f"('o4', 't2', 'p', 'GENERATION', '{AT}', 'agent', {{}}, 'DEFAULT', 'gpt-4o', {{'input': 7}}, 1, 1, 0)",
            f"('o4', 't2', 'p', 'GENERATION', '{AT}', 'agent', {{}}, 'DEFAULT', 'gpt-4o', {{'input': 7}}, 1, 2, 1)",
        )
    ),
)
HELICONE = (
    "CREATE TABLE request_response_rmt (response_id Nullable(UUID), response_created_at Nullable(DateTime64(3)),"
    " latency Nullable(Int64), status Int64, completion_tokens Nullable(Int64), prompt_tokens Nullable(Int64),"
    " model String, request_id UUID, request_created_at DateTime, user_id String, organization_id UUID,"
    " provider String, properties Map(LowCardinality(String), String), updated_at DateTime)"
    " ENGINE = ReplacingMergeTree(updated_at)"
    " ORDER BY (organization_id, toStartOfHour(request_created_at), request_id)",
    *(
        "INSERT INTO request_response_rmt (status, completion_tokens, prompt_tokens, model, request_id,"
        f" request_created_at, user_id, provider, updated_at) VALUES ({status}, {output}, {prompt}, 'gpt-4o',"
        f" '00000000-0000-0000-0000-00000000000{one}', '{AT}', '{user}', 'OPENAI', {version})"
        for one, status, output, prompt, user, version in (
            (1, -2, "NULL", "NULL", "cus_a", 1), (1, 200, 40, 300, "cus_a", 2), (2, 500, "NULL", 10, "", 1),
            (3, -3, "NULL", "NULL", "", 1),
        )
    ),
)  # fmt: skip
OPENMETER = (
    "CREATE TABLE om_events (namespace String, id String, type LowCardinality(String), subject String, source String,"
    " time DateTime, data String, ingested_at DateTime, stored_at DateTime, store_row_id String)"
    " ENGINE = MergeTree PARTITION BY toYYYYMM(time) ORDER BY (namespace, type, subject, toStartOfHour(time))",
    "INSERT INTO om_events (namespace, id, type, subject, source, time, data) VALUES"
    f" ('d', 'e1', 'prompt', 'cus_a', 's', '{AT}',"
    ' \'{"tokens": "123", "model": "gpt-4o", "type": "input"}\'),'
    f" ('d', 'e2', 'litellm_tokens', 'cus_b', 's', '{AT}', '{{\"provider\": \"openai\", \"model\": \"gpt-4o\","
    ' "prompt_tokens": 10, "completion_tokens": 20.5, "cost": 0.1}\')',
)

Found = tuple[str, str, str, str, dict[str, float]]
EXPECTED: dict[str, tuple[str, tuple[str, ...], list[Found], dict[str, int]]] = {
    # preset: engine, statements, [(provider, model, operation, status, sums)], requests by customer
    "litellm": ("postgresql", LITELLM, [
        ("anthropic", "anthropic/claude-x", "acompletion", "succeeded", {
            "tokens_input": 1000, "tokens_output": 10, "tokens_cache_write": 3000, "logged_cost": 500_000}),
        ("openai", "gpt-4o", "acompletion", "failed", {"tokens_input": 70, "tokens_output": 0, "logged_cost": 0}),
        ("openai", "gpt-4o", "acompletion", "succeeded", {
            "tokens_input": 200, "tokens_output": 200, "tokens_cache_read": 800, "logged_cost": 12_500}),
    ], {"": 1, "cus_a": 2}),
    "langfuse": ("clickhouse", LANGFUSE, [
        ("bedrock", "claude-x", "agent", "failed", {"tokens_input": 5}),
        ("openai", "gpt-4o", "agent", "succeeded", {
            "tokens_input": 2140, "tokens_output": 406, "tokens_cache_read": 1024, "logged_cost": 1_144}),
    ], {"": 2}),
    "helicone": ("clickhouse", HELICONE, [
        ("openai", "gpt-4o", "", "failed", {"tokens_input": 10}),
        ("openai", "gpt-4o", "", "succeeded", {"tokens_input": 300, "tokens_output": 40}),
        ("openai", "gpt-4o", "", "unknown", {}),
    ], {"": 2, "cus_a": 1}),
    "openmeter": ("clickhouse", OPENMETER, [
        ("openai", "gpt-4o", "litellm_tokens", "succeeded", {"tokens_input": 10, "tokens_output": 20.5}),
        ("openmeter", "gpt-4o", "prompt", "succeeded", {"tokens_input": 123}),
    ], {"cus_a": 1, "cus_b": 1}),
}  # fmt: skip


@pytest.mark.parametrize("preset", EXPECTED)
def test_presets(log_url: LogUrl, tmp_path: Path, preset: Any) -> None:
    engine, statements, expected, customers = EXPECTED[preset]
    url = log_url(engine)
    made = create_engine(url)
    for statement in statements:
        with made.begin() as connection:
            if engine == "clickhouse":
                connection.exec_driver_sql(statement)
            else:
                connection.execute(text(statement.replace(":", r"\:")))
    made.dispose()
    given = UsageSettings(url=DatabaseUrl(url), preset=preset)
    world = World(Log(sqlite_url(tmp_path, "unused")), sqlite_url(tmp_path, "state.sqlite"), settings=given)
    status = world.poll()
    assert status.up, status.message
    assert status.message is None or engine == "clickhouse"
    keys = world.source.history.keys
    stored = world.stored()
    found = []
    for key in keys.values():
        for (_, provider, model, raw, measures), (_, sums) in stored.buckets.items():
            if (key.provider, key.model, key.status, tuple(sorted(key.measures))) == (provider, model, raw, measures):
                # logged costs in millionths, too
                plain: dict[str, float] = {
                    name: v / (1000 if name == "logged_cost" else 10**6) for name, v in sums.items()
                }
                found.append((provider, model, key.operation, given.canonical_status(raw), plain))
    assert sorted(found, key=lambda one: one[:4]) == expected
    requests: dict[str, int] = {}
    for (_, customer, *_), (rows, _) in stored.customers.items():
        requests[customer] = requests.get(customer, 0) + rows
    assert requests == customers
    world.close()


def test_a_preset_can_be_changed_key_by_key() -> None:
    given = UsageSettings(
        url=DatabaseUrl("postgresql://h/d"), preset="litellm", reread=3600, status_map={"failed": ("oops",)}
    )
    assert given.query == UsageSettings(url=DatabaseUrl("postgresql://h/d"), preset="litellm").query
    assert given.reread == 3600
    own = UsageSettings(url=DatabaseUrl("postgresql://h/d"), preset="litellm", query="SELECT 1")
    assert own.query == "SELECT 1"


def test_every_preset_names_its_engines() -> None:
    assert all(preset.engines for preset in PRESETS.values())
