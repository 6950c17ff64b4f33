-- The tables of a state of version 1, as they were made in sqlite.

CREATE TABLE account (
    name VARCHAR NOT NULL,
    stripe_id VARCHAR,
    livemode BOOLEAN NOT NULL,
    pinned_at BIGINT NOT NULL,
    PRIMARY KEY (name)
);

CREATE TABLE active_user (
    source VARCHAR NOT NULL,
    start BIGINT NOT NULL,
    user_hash BIGINT NOT NULL,
    PRIMARY KEY (source, start, user_hash)
)
 WITHOUT ROWID;

CREATE TABLE audit (
    id INTEGER NOT NULL,
    at FLOAT NOT NULL,
    event VARCHAR NOT NULL,
    detail TEXT NOT NULL,
    PRIMARY KEY (id)
);

CREATE TABLE backfill_slice (
    source VARCHAR NOT NULL,
    start BIGINT NOT NULL,
    "end" BIGINT NOT NULL,
    "after" VARCHAR,
    reached BIGINT,
    done BOOLEAN NOT NULL,
    PRIMARY KEY (source, start)
);

CREATE TABLE balance_transaction (
    account VARCHAR NOT NULL,
    id VARCHAR NOT NULL,
    created BIGINT NOT NULL,
    available_on BIGINT,
    type VARCHAR NOT NULL,
    category VARCHAR NOT NULL,
    balance_type VARCHAR NOT NULL,
    currency VARCHAR NOT NULL,
    amount BIGINT NOT NULL,
    fee BIGINT NOT NULL,
    net BIGINT NOT NULL,
    fee_details TEXT,
    exchange_rate VARCHAR,
    source_id VARCHAR,
    charge_id VARCHAR,
    payment_intent_id VARCHAR,
    customer_id VARCHAR,
    payment_method VARCHAR,
    reason VARCHAR,
    source_currency VARCHAR,
    source_amount BIGINT,
    expanded BOOLEAN NOT NULL,
    PRIMARY KEY (account, id)
);

CREATE INDEX balance_transaction_charge ON balance_transaction (account, charge_id);

CREATE INDEX balance_transaction_created ON balance_transaction (account, created);

CREATE TABLE cursor (
    source VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (source, name)
);

CREATE TABLE lease (
    name VARCHAR NOT NULL,
    holder VARCHAR NOT NULL,
    epoch BIGINT NOT NULL,
    expires_at FLOAT NOT NULL,
    PRIMARY KEY (name)
);

CREATE TABLE ledger_sum (
    account VARCHAR NOT NULL,
    currency VARCHAR NOT NULL,
    category VARCHAR NOT NULL,
    balance_type VARCHAR NOT NULL,
    negative BOOLEAN NOT NULL,
    rows BIGINT NOT NULL,
    amount BIGINT NOT NULL,
    fee BIGINT NOT NULL,
    net BIGINT NOT NULL,
    inconsistent BIGINT NOT NULL,
    unexpanded BIGINT NOT NULL,
    fee_negative BIGINT NOT NULL,
    last_created BIGINT NOT NULL,
    PRIMARY KEY (account, currency, category, balance_type, negative)
);

CREATE TABLE ledger_total (
    account VARCHAR NOT NULL,
    bucket BIGINT NOT NULL,
    currency VARCHAR NOT NULL,
    category VARCHAR NOT NULL,
    balance_type VARCHAR NOT NULL,
    negative BOOLEAN NOT NULL,
    rows BIGINT NOT NULL,
    amount BIGINT NOT NULL,
    fee BIGINT NOT NULL,
    net BIGINT NOT NULL,
    PRIMARY KEY (account, bucket, currency, category, balance_type, negative)
)
 WITHOUT ROWID;

CREATE TABLE meta (
    "key" VARCHAR NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY ("key")
);

CREATE TABLE mrr_item (
    account VARCHAR NOT NULL,
    subscription_id VARCHAR NOT NULL,
    item_id VARCHAR NOT NULL,
    customer_id VARCHAR,
    product VARCHAR NOT NULL,
    currency VARCHAR NOT NULL,
    status VARCHAR NOT NULL,
    mrr BIGINT NOT NULL,
    excluded VARCHAR,
    note VARCHAR,
    valid_until BIGINT,
    PRIMARY KEY (account, subscription_id, item_id)
);

CREATE INDEX mrr_item_valid_until ON mrr_item (account, valid_until);

CREATE TABLE source_error (
    source VARCHAR NOT NULL,
    reason VARCHAR NOT NULL,
    errors BIGINT NOT NULL,
    PRIMARY KEY (source, reason)
);

CREATE TABLE source_status (
    source VARCHAR NOT NULL,
    up BOOLEAN NOT NULL,
    complete_at FLOAT,
    data_at FLOAT,
    last_success FLOAT,
    last_attempt FLOAT,
    duration FLOAT,
    interval FLOAT NOT NULL,
    progress FLOAT,
    reason VARCHAR,
    message TEXT,
    PRIMARY KEY (source)
);

CREATE TABLE stripe_balance (
    account VARCHAR NOT NULL,
    currency VARCHAR NOT NULL,
    available BIGINT NOT NULL,
    pending BIGINT NOT NULL,
    reserved BIGINT NOT NULL,
    drift BIGINT,
    drift_polls BIGINT NOT NULL,
    read_at BIGINT NOT NULL,
    PRIMARY KEY (account, currency)
);

CREATE TABLE stripe_event (
    account VARCHAR NOT NULL,
    id VARCHAR NOT NULL,
    created BIGINT NOT NULL,
    PRIMARY KEY (account, id)
);

CREATE TABLE stripe_request (
    account VARCHAR NOT NULL,
    hour BIGINT NOT NULL,
    endpoint VARCHAR NOT NULL,
    code VARCHAR NOT NULL,
    requests BIGINT NOT NULL,
    PRIMARY KEY (account, hour, endpoint, code)
);

CREATE TABLE subscription (
    account VARCHAR NOT NULL,
    id VARCHAR NOT NULL,
    customer_id VARCHAR,
    status VARCHAR NOT NULL,
    created BIGINT NOT NULL,
    object TEXT NOT NULL,
    read_at BIGINT NOT NULL,
    PRIMARY KEY (account, id)
);

CREATE INDEX subscription_status ON subscription (account, status);

CREATE TABLE usage_booked (
    source VARCHAR NOT NULL,
    start BIGINT NOT NULL,
    key_id INTEGER NOT NULL,
    currency VARCHAR NOT NULL,
    provider VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    cost BIGINT NOT NULL,
    PRIMARY KEY (source, start, key_id, currency)
)
 WITHOUT ROWID;

CREATE TABLE usage_bucket (
    source VARCHAR NOT NULL,
    bucket BIGINT NOT NULL,
    key_id INTEGER NOT NULL,
    facet INTEGER NOT NULL,
    requests BIGINT NOT NULL,
    m0 BIGINT,
    m1 BIGINT,
    m2 BIGINT,
    m3 BIGINT,
    m4 BIGINT,
    m5 BIGINT,
    m6 BIGINT,
    m7 BIGINT,
    PRIMARY KEY (source, bucket, key_id, facet)
)
 WITHOUT ROWID;

CREATE TABLE usage_counted (
    source VARCHAR NOT NULL,
    bucket BIGINT NOT NULL,
    provider VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    operation VARCHAR NOT NULL,
    measure VARCHAR NOT NULL,
    value BIGINT NOT NULL,
    PRIMARY KEY (source, bucket, provider, model, operation, measure)
);

CREATE TABLE usage_counter (
    metric VARCHAR NOT NULL,
    provider VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    label VARCHAR NOT NULL,
    value VARCHAR NOT NULL,
    PRIMARY KEY (metric, provider, model, label)
);

CREATE TABLE usage_day (
    source VARCHAR NOT NULL,
    start BIGINT NOT NULL,
    customer_id VARCHAR NOT NULL,
    key_id INTEGER NOT NULL,
    facet INTEGER NOT NULL,
    requests BIGINT NOT NULL,
    m0 BIGINT,
    m1 BIGINT,
    m2 BIGINT,
    m3 BIGINT,
    m4 BIGINT,
    m5 BIGINT,
    m6 BIGINT,
    m7 BIGINT,
    PRIMARY KEY (source, start, customer_id, key_id, facet)
)
 WITHOUT ROWID;

CREATE TABLE usage_key (
    id INTEGER NOT NULL,
    source VARCHAR NOT NULL,
    digest VARCHAR NOT NULL,
    "key" TEXT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (digest)
);

CREATE TABLE usage_revision (
    source VARCHAR NOT NULL,
    day BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    PRIMARY KEY (source, day)
)
 WITHOUT ROWID;

CREATE TABLE usage_segment (
    source VARCHAR NOT NULL,
    start BIGINT NOT NULL,
    key_id INTEGER NOT NULL,
    facet INTEGER NOT NULL,
    requests BIGINT NOT NULL,
    m0 BIGINT,
    m1 BIGINT,
    m2 BIGINT,
    m3 BIGINT,
    m4 BIGINT,
    m5 BIGINT,
    m6 BIGINT,
    m7 BIGINT,
    PRIMARY KEY (source, start, key_id, facet)
)
 WITHOUT ROWID;
