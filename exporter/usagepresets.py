"""Logs that other products keep, by name: what is needed besides the address. Any key of it may be given otherwise.

The tables are those of the products' own schemas:
- Prisma: the model ``ApiUsageLog`` of this project's documentation;
- LiteLLM: ``LiteLLM_SpendLogs`` of its ``schema.prisma`` (https://github.com/BerriAI/litellm);
- Langfuse: ``observations`` (https://github.com/langfuse/langfuse, packages/shared/clickhouse/migrations);
- Helicone: ``request_response_rmt`` (https://github.com/Helicone/helicone, clickhouse/migrations);
- OpenMeter: ``om_events``, CloudEvents (https://github.com/openmeterio/openmeter).

Kinds of tokens are kept apart, each by what its product documents:
- LiteLLM brings all providers to one form, in which ``prompt_tokens`` counts what was read from and
  written to a cache, too (https://docs.litellm.ai/docs/completion/prompt_caching): ``includes`` takes it off;
- Langfuse asks for kinds that do not overlap, and takes OpenAI's details off ``input`` and ``output`` itself, under
  names of their own such as ``output_reasoning_tokens``
  (https://langfuse.com/docs/observability/features/token-and-cost-tracking);
- Helicone's table tells no kinds apart: all input is ``tokens_input``, which is too dear where some was cached.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from exporter.databaseurl import EngineName

PresetName = Literal["prisma_api_usage_log", "litellm", "langfuse", "helicone", "openmeter"]


@dataclass(frozen=True)
class Preset:
    """Keys of a usage log in margin.yaml, and the engines that they are written for (none: any)."""

    keys: Mapping[str, Any] = field(default_factory=dict)
    engines: tuple[EngineName, ...] = ()


_LITELLM = """
SELECT l.request_id AS id, l."startTime" AS time,
       COALESCE(NULLIF(l.custom_llm_provider, ''), split_part(l.model, '/', 1)) AS provider, l.model,
       l.call_type AS operation, COALESCE(l.status, l.metadata ->> 'status', 'success') AS status,
       NULLIF(l.end_user, '') AS customer, NULLIF(l."user", '') AS "user", l.session_id AS job, l.spend AS logged_cost,
       l.prompt_tokens AS tokens_input, l.completion_tokens AS tokens_output,
       NULLIF(c.read, 0) AS tokens_cache_read, NULLIF(c.written, 0) AS tokens_cache_write
FROM "LiteLLM_SpendLogs" AS l
CROSS JOIN LATERAL (SELECT
  COALESCE(CAST(COALESCE(l.metadata #>> '{additional_usage_values,cache_read_input_tokens}',
    l.metadata #>> '{additional_usage_values,prompt_tokens_details,cached_tokens}') AS numeric), 0) AS read,
  COALESCE(CAST(l.metadata #>> '{additional_usage_values,cache_creation_input_tokens}' AS numeric), 0) AS written) AS c
WHERE COALESCE(l.cache_hit, '') NOT IN ('True', 'true')
"""

_CACHED = {"quantities": {"tokens_input": ("tokens_cache_read", "tokens_cache_write")}}

_LANGFUSE = """
SELECT id, start_time AS time,
       multiIf(metadata['ls_provider'] != '', replaceAll(metadata['ls_provider'], '"', ''),
               match(lower(provided_model_name), '^(gpt|chatgpt|o[0-9]|text-embedding|dall-e|whisper|tts|sora)'),
               'openai',
               match(lower(provided_model_name), 'claude'), 'anthropic',
               match(lower(provided_model_name), 'gemini|imagen|veo'), 'google',
               match(lower(provided_model_name), '^(mistral|mixtral|codestral|ministral|magistral)'), 'mistral',
               match(lower(provided_model_name), '^deepseek'), 'deepseek',
               match(lower(provided_model_name), '^grok'), 'xai', 'langfuse') AS provider,
       provided_model_name AS model, name AS operation, if(level = 'ERROR', 'failed', 'succeeded') AS status,
       trace_id AS job, total_cost AS logged_cost,
       if(mapContains(usage_details, 'input'), usage_details['input'], NULL) AS tokens_input,
       if(mapContains(usage_details, 'output'),
          usage_details['output'] + usage_details['output_reasoning_tokens']
          + usage_details['output_accepted_prediction_tokens']
          + usage_details['output_rejected_prediction_tokens'], NULL) AS tokens_output,
       nullIf(usage_details['input_audio_tokens'], 0) AS tokens_input_audio,
       nullIf(usage_details['output_audio_tokens'], 0) AS tokens_output_audio,
       nullIf(usage_details['input_cached_tokens'] + usage_details['input_cache_read']
              + usage_details['cache_read_input_tokens'], 0) AS tokens_cache_read,
       nullIf(usage_details['input_cache_creation'] + usage_details['cache_creation_input_tokens'], 0)
         AS tokens_cache_write
FROM observations FINAL
WHERE is_deleted = 0 AND type IN ('GENERATION', 'EMBEDDING')
"""

_HELICONE = """
SELECT request_id AS id, request_created_at AS time, lower(provider) AS provider, model,
       multiIf(status >= 200 AND status < 300, 'succeeded', status >= 400, 'failed',
               concat('helicone ', toString(status))) AS status,
       nullIf(user_id, '') AS customer, nullIf(user_id, '') AS user,
       prompt_tokens AS tokens_input, completion_tokens AS tokens_output
FROM request_response_rmt FINAL
"""

_OPENMETER = """
SELECT id, time, if(JSONHas(data, 'provider'), JSONExtractString(data, 'provider'), 'openmeter') AS provider,
       JSONExtractString(data, 'model') AS model, type AS operation, 'succeeded' AS status, subject AS customer,
       nullIf(replaceAll(if(JSONHas(data, 'prompt_tokens'), JSONExtractRaw(data, 'prompt_tokens'),
              if(JSONExtractString(data, 'type') IN ('input', 'prompt'), JSONExtractRaw(data, 'tokens'), '')),
              '"', ''), '') AS tokens_input,
       nullIf(replaceAll(if(JSONHas(data, 'completion_tokens'), JSONExtractRaw(data, 'completion_tokens'),
              if(JSONExtractString(data, 'type') IN ('output', 'completion'), JSONExtractRaw(data, 'tokens'), '')),
              '"', ''), '') AS tokens_output,
       nullIf(replaceAll(JSONExtractRaw(data, 'duration_s'), '"', ''), '') AS duration_s,
       nullIf(replaceAll(JSONExtractRaw(data, 'images'), '"', ''), '') AS images,
       nullIf(replaceAll(JSONExtractRaw(data, 'characters'), '"', ''), '') AS characters,
       nullIf(replaceAll(JSONExtractRaw(data, 'credits'), '"', ''), '') AS credits
FROM om_events
"""

PRESETS: Final[Mapping[PresetName, Preset]] = {
    "prisma_api_usage_log": Preset(engines=("sqlite", "postgresql", "mysql")),
    "litellm": Preset({"query": _LITELLM, "job_rows": "parts", "includes": (_CACHED,)}, ("postgresql",)),
    "langfuse": Preset({"query": _LANGFUSE, "job_rows": "parts"}, ("clickhouse",)),
    "helicone": Preset({"query": _HELICONE}, ("clickhouse",)),
    "openmeter": Preset({"query": _OPENMETER}, ("clickhouse",)),
}


def with_preset(data: Any) -> Any:
    """The keys of a usage log with those of its preset; what is given itself wins."""
    if not isinstance(data, dict) or data.get("preset") not in PRESETS:
        return data
    preset = PRESETS[data["preset"]]
    keys = {} if "table" in data or "query" in data else dict(preset.keys)
    return {**keys, **data}
