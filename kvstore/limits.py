"""Every bound of the system, each with its unit last in the name.

Nothing here is read by `state`: what decides the result of an applied command is replicated, never local.
"""

from typing import Final

# Data model (DESIGN: keys 1..4,096 bytes, values up to 1 MiB by default).
KEY_BYTES_MAX: Final = 4_096
VALUE_BYTES_MAX: Final = 1 << 20
REVISION_MAX: Final = (1 << 63) - 1
STAMP_COUNTER_TOLD_MAX: Final = 1_000_000_000

# Reading ranges.
RANGE_LIMIT_DEFAULT: Final = 1_000
RANGE_LIMIT_MAX: Final = 10_000
RANGE_PAGE_BYTES_MAX: Final = 8 << 20
CURSOR_CHARS_MAX: Final = 8_192
PAST_KEYS_MAX: Final = 500_000

# Transactions: comparisons and operations of all lists together. What one may read or change is replicated.
TXN_OPS_MAX: Final = 128
TXN_BODY_BYTES_MAX: Final = 4 << 20

# Leases.
LEASE_TTL_MS_MIN: Final = 1_000
LEASE_TTL_MS_MAX: Final = 366 * 86_400_000
LEASES_KEPT_ALIVE_MAX: Final = 10_000
LEASES_BODY_BYTES_MAX: Final = 512 << 10
KEEPALIVE_SILENCE_S_MAX: Final = 600.0
LEASES_EXPIRED_AT_ONCE_MAX: Final = 1_024
LEASE_KEYS_EXPIRED_AT_ONCE_MAX: Final = 1_024

# Watches.
WATCHES_MAX: Final = 8_192
WATCH_QUEUE_CHANGES_MAX: Final = 1_024
WATCH_QUEUE_BYTES_MAX: Final = 4 << 20
WATCH_SLICE_CHANGES_MAX: Final = 1_024
WATCH_PROGRESS_S: Final = 5.0

# Requests.
TIMEOUT_MS_DEFAULT: Final = 5_000
TIMEOUT_MS_MAX: Final = 600_000
HTTP_LINE_BYTES_MAX: Final = 16_384
HTTP_HEADER_BYTES_MAX: Final = 16_384
HTTP_BODY_READ_S_MAX: Final = 30.0
HTTP_HEADERS_MAX: Final = 64
HTTP_IDLE_S_MAX: Final = 75.0
HTTP_LINGER_S_MAX: Final = 2.0
HTTP_SHUTDOWN_S_MAX: Final = 5.0
HTTP_DRAIN_S_MAX: Final = 0.5
ADMIN_BODY_BYTES_MAX: Final = 65_536
HTTP_WRITE_S_MAX: Final = 30.0
HTTP_WRITE_BUFFER_BYTES_MAX: Final = 256 << 10
HTTP_BACKLOG_CONNECTIONS: Final = 1_024
HTTP_CONNECTIONS_MAX: Final = 8_192
# Connections at both doors, those to peers, segments of the logs, and some more.
REDIS_CONNECTIONS_MAX: Final = 4_096
# Of one address, at each door: three quarters of what there are, unless a setting says less.
HTTP_CONNECTIONS_PER_ADDRESS_MAX: Final = HTTP_CONNECTIONS_MAX * 3 // 4
REDIS_CONNECTIONS_PER_ADDRESS_MAX: Final = REDIS_CONNECTIONS_MAX * 3 // 4
OPEN_FILES_WANTED: Final = HTTP_CONNECTIONS_MAX + REDIS_CONNECTIONS_MAX + 1_024
HTTP_REFUSALS_MAX: Final = 256
HTTP_REFUSAL_S_MAX: Final = 1.0
HTTP_BODIES_BYTES_MAX: Final = 128 << 20
HTTP_READ_BUFFER_BYTES: Final = 32 << 10
REQUEST_ID_CHARS_MAX: Final = 128
IDEMPOTENCY_KEY_BYTES_MAX: Final = 256

# The Redis door. A command and its arguments; what is read of one that is refused for its size; what waits of one
# connection before its reading is paused, and of all connections together.
REDIS_BACKLOG_CONNECTIONS: Final = 1_024
REDIS_ARGUMENTS_MAX: Final = 1_024
REDIS_COMMAND_BYTES_MAX: Final = TXN_BODY_BYTES_MAX
REDIS_SKIPPED_BYTES_MAX: Final = 64 << 20
REDIS_INLINE_BYTES_MAX: Final = 64 << 10
REDIS_PIPELINE_COMMANDS_MAX: Final = 1_024
REDIS_PIPELINE_BYTES_MAX: Final = 1 << 20
REDIS_INPUT_BYTES_MAX: Final = 128 << 20
# Commands of one connection that are carried out together, and calls on one key that are written together.
REDIS_RUN_COMMANDS_MAX: Final = 128
REDIS_RUN_BYTES_MAX: Final = 512 << 10
REDIS_COMBINED_CALLS_MAX: Final = 128
REDIS_ATTEMPTS_MAX: Final = 1_024
REDIS_ROUNDS_MAX: Final = 3
REDIS_ROUND_PAUSE_S_MAX: Final = 0.05
REDIS_COMMAND_S_MAX: Final = 5.0
REDIS_REPLY_BYTES_MAX: Final = 16 << 20
REDIS_WRITE_BUFFER_BYTES_MAX: Final = 256 << 10
REDIS_WRITE_S_MAX: Final = 30.0
REDIS_SHUTDOWN_S_MAX: Final = 5.0
REDIS_DRAIN_S_MAX: Final = 0.5
# Commands between MULTI and EXEC, and keys that are watched for it.
REDIS_QUEUED_COMMANDS_MAX: Final = TXN_OPS_MAX
REDIS_WATCHED_KEYS_MAX: Final = TXN_OPS_MAX
REDIS_SUBSCRIPTIONS_MAX: Final = 128
REDIS_SCAN_COUNT_DEFAULT: Final = 10
REDIS_SCAN_COUNT_MAX: Final = RANGE_LIMIT_MAX
REDIS_SCAN_CURSORS_MAX: Final = 4_096
REDIS_KEYS_MAX: Final = 100_000
REDIS_PATTERN_BYTES_MAX: Final = KEY_BYTES_MAX
REDIS_CLIENT_NAME_BYTES_MAX: Final = 256
REDIS_CLIENTS_LISTED_MAX: Final = 1_024
REDIS_LEASES_KEPT_MAX: Final = 100_000
REDIS_WAIT_POLL_S_MIN: Final = 0.005
REDIS_WAIT_POLL_S_MAX: Final = 0.1

# A batch: in one request, its values in one answer, what one node sends to the leader at a time, and its reads at ALL.
BATCH_OPS_MAX: Final = 10_000
BATCH_BODY_BYTES_MAX: Final = 16 << 20
BATCH_VALUES_BYTES_MAX: Final = 16 << 20
BATCH_PART_OPS_MAX: Final = 1_024
BATCH_PART_BYTES_MAX: Final = 1 << 20
BATCH_ALL_READS_MAX: Final = 32

# Users, roles, passwords and tokens. How many users and roles there may be is replicated.
AUTH_NAME_CHARS_MAX: Final = 128
PASSWORD_BYTES_MIN: Final = 8
PASSWORD_BYTES_MAX: Final = 256
PASSWORD_RECORD_BYTES_MAX: Final = 256
SIGNING_KEY_BYTES: Final = 32
TOKEN_CHARS_MAX: Final = 4_096
TOKENS_CACHED_MAX: Final = 4_096
TOKEN_S_MIN: Final = 10
TOKEN_S_MAX: Final = 86_400
TOKEN_CLOCK_S_MAX: Final = 30.0
TOKEN_KEYS_MAX: Final = 64
TOKEN_KEYS_FILE_BYTES_MAX: Final = 256 << 10
TOKEN_KEYS_LOOK_S: Final = 1.0
# Passwords that are hashed at a time, and that wait for it; how often one may be tried, by user and address, and by
# address alone: so many at once, and one more each so many seconds; and how many of both are remembered.
PASSWORD_WORKERS_MAX: Final = 2
PASSWORDS_WAITING_MAX: Final = 32
LOGIN_TRIES_MAX: Final = 5
LOGIN_TRY_EVERY_S: Final = 5.0
LOGIN_ADDRESS_TRIES_MAX: Final = 50
LOGIN_ADDRESS_TRY_EVERY_S: Final = 0.5
LOGIN_TRIES_KEPT_MAX: Final = 8_192
# How often a write is checked anew because users or roles have changed while it was under way.
AUTH_ROUNDS_MAX: Final = 8
# The audit log: what waits to be written, and its files.
AUDIT_WAITING_MAX: Final = 8_192
AUDIT_FILE_BYTES_MAX: Final = 64 << 20
AUDIT_FILES_MAX: Final = 8
AUDIT_KEY_BYTES_MAX: Final = 256

# One entry of the log, and the operations that wait to be put into one.
ENTRY_BYTES_MAX: Final = 4 << 20
ENTRY_OPS_MAX: Final = 4_096
STEP_BYTES_MAX: Final = 8 << 20
PROPOSALS_PENDING_MAX: Final = 16_384
PROPOSALS_PENDING_BYTES_MAX: Final = 64 << 20
FORWARDED_BYTES_MAX: Final = 4 << 20
READS_PENDING_MAX: Final = 65_536

# Writes at level ONE that wait for a leader.
INTENTS_PENDING_MAX: Final = 65_536
INTENTS_PENDING_BYTES_MAX: Final = 64 << 20
INTENTS_BATCH_BYTES_MAX: Final = 1 << 20
INTENT_OVERHEAD_BYTES: Final = 400
INTENT_SEGMENT_BYTES: Final = 4 << 20

# Between peers. A frame carries at most one message.
FRAME_BYTES_MAX: Final = 16 << 20
FRAME_COMPRESS_BYTES_MIN: Final = 4_096
DECOMPRESSED_BYTES_MAX: Final = 32 << 20
APPEND_BYTES_MAX: Final = 2 << 20
APPEND_ENTRIES_MAX: Final = 1_024
IN_FLIGHT_BYTES_MAX: Final = 16 << 20
IN_FLIGHT_MESSAGES_MAX: Final = 256
IN_FLIGHT_TIMES_MAX: Final = 1_024
PEER_BUFFER_BYTES_MAX: Final = 64 << 20
HANDSHAKE_S_MAX: Final = 5.0
HANDSHAKE_BYTES_MAX: Final = 65_536
HANDSHAKE_TEXT_CHARS_MAX: Final = 512
HANDSHAKES_PENDING_MAX: Final = 64
PEER_DIAL_S_MAX: Final = 1.0
PEER_REDIAL_S_MIN: Final = 0.02
PEER_REDIAL_S_MAX: Final = 0.5
PEER_SILENCE_S_MAX: Final = 5
INBOX_MESSAGES_MAX: Final = 8_192
CALLS_SERVED_MAX: Final = 8_192

# TLS: a handshake, those of one door that are under way, what comes before one is done; and files of certificates.
TLS_HANDSHAKE_S_MAX: Final = 5.0
TLS_HANDSHAKE_BYTES_MAX: Final = 256 << 10
TLS_HANDSHAKES_PENDING_MAX: Final = 256
TLS_REFUSAL_S_MAX: Final = 1.0
TLS_CLOSE_S_MAX: Final = 1.0
TLS_RECORD_BYTES: Final = 16 << 10
TLS_FILE_BYTES_MAX: Final = 1 << 20
TLS_FILES_CHECK_S: Final = 2.0
TLS_FILES_SETTLE_S: Final = 0.5
TLS_REFUSALS_LOG_S: Final = 10.0
TLS_EXPIRY_WARNING_S: Final = 14 * 86_400.0
# Certificates that `kv cert` makes.
CERT_DAYS_MAX: Final = 3_650
CERT_HOSTS_MAX: Final = 64

# Membership.
MEMBERS_MAX: Final = 15
PEERS_MAX: Final = 4 * MEMBERS_MAX
NAME_CHARS_MAX: Final = 64

ALARMS_MAX: Final = 64

# Events of the protocol that are kept to be told, and slow requests that are written down in a second.
TRACE_EVENTS_MAX: Final = 4_096
SLOW_REQUESTS_LOGGED_PER_S_MAX: Final = 10
SLOW_REQUEST_MS_MAX: Final = 600_000
TRACEPARENT_CHARS_MAX: Final = 55

# The odds of clusters that need not exist (availability.py: above 1,000 the choices do not fit into a double).
ODDS_NODES_MAX: Final = 999
# Of one question at the HTTP door, which is answered on the loop.
ODDS_ASKED_NODES_MAX: Final = 99
ODDS_ASKED_ROWS_MAX: Final = 15
ODDS_ASKED_CHARS_MAX: Final = 64
ODDS_ROWS_CACHED_MAX: Final = 256
# Those of clusters that are made for it, and of those of which every subset is failed on real processes.
ODDS_TRIAL_NODES_MAX: Final = 9
ODDS_EXHAUSTIVE_NODES_MAX: Final = 5
# For how long nodes may fail and come back by themselves.
ODDS_OVER_TIME_S_MAX: Final = 86_400.0

# The web page: files of its own, read at the start, and the reports of the harness that it shows.
UI_FILE_BYTES_MAX: Final = 512 << 10
UI_REPORTS_MAX: Final = 500
UI_REPORT_FOLDERS_MAX: Final = 5_000
UI_REPORT_DEPTH_FOLDERS_MAX: Final = 3
UI_REPORT_BYTES_MAX: Final = 32 << 20
UI_REPORT_RESULTS_BYTES_MAX: Final = 8 << 20
UI_REPORT_NAME_CHARS_MAX: Final = 128
UI_REPORT_PATH_CHARS_MAX: Final = 512
UI_REPORT_TEXT_CHARS_MAX: Final = 1_000
UI_REPORTS_READ_AT_ONCE_MAX: Final = 4

# Disk.
SEGMENT_BYTES: Final = 16 << 20
SEGMENT_BYTES_MAX: Final = 1 << 30
SEGMENT_HEADER_BYTES: Final = 8 << 10
JOURNAL_KEPT_BYTES: Final = 64 << 10
JOURNAL_FREED_ENTRIES_MAX: Final = 1_024
SNAPSHOT_CHUNK_BYTES: Final = 256 << 10
SNAPSHOT_CHUNKS_AHEAD_MAX: Final = 4
BACKUPS_MAX: Final = 4
SNAPSHOT_RETRY_S_MIN: Final = 1.0
SNAPSHOT_FRAME_RECORDS: Final = 500
SNAPSHOT_FRAME_BYTES_MAX: Final = 4 << 20
APPLY_SLICE_ENTRIES_MAX: Final = 512
APPLY_SLICE_S_MAX: Final = 0.01

# Encryption of what is on the disk.
ENCRYPTION_KEYS_MAX: Final = 32
ENCRYPTION_KEYS_BYTES_MAX: Final = 16 << 10
ENCRYPTION_KEY_COMMAND_S_MAX: Final = 30.0
ENCRYPTION_KEYS_CHECK_S: Final = 2.0
ENCRYPTION_RENEWAL_S: Final = 1.0
ENCRYPTION_SETTLE_S: Final = 3.0
ENCRYPTED_CHUNK_BYTES: Final = 64 << 10

# Client library.
ENDPOINTS_MAX: Final = 64
CLIENT_CONNECTIONS_MAX: Final = 256
CLIENT_STREAMS_MAX: Final = 8_192
# What is held of one revision until its last change has arrived; and how long a watch may be silent: progress comes
# more often.
CLIENT_WATCH_BYTES_MAX: Final = 64 << 20
CLIENT_WATCH_SILENCE_S_MAX: Final = 2.5 * WATCH_PROGRESS_S
CLIENT_WATCH_BACKOFF_S_MAX: Final = 1.0
CLIENT_ANSWER_BYTES_MAX: Final = 64 << 20
CONNECT_S_MAX: Final = 1.0
ENDPOINT_ASIDE_S_MIN: Final = 0.5
ENDPOINT_ASIDE_S_MAX: Final = 5.0
CLIENT_SESSION_WRITES_MAX: Final = 1_024
CLIENT_WRITES_WAITING_MAX: Final = 65_536
CLIENT_BATCH_OPS_MAX: Final = 512
CLIENT_BATCH_BYTES_MAX: Final = 4 << 20
SESSION_CLOSE_S_MAX: Final = 0.5
CLIENT_CLOSE_S_MAX: Final = 5.0
READ_ATTEMPT_S_MAX: Final = 1.0
WRITE_ATTEMPT_S_MAX: Final = 2.0
RECEIPT_POLL_S_MIN: Final = 0.02
RECEIPT_POLL_S_MAX: Final = 1.0
RETRY_BACKOFF_S_MIN: Final = 0.025
RETRY_BACKOFF_S_MAX: Final = 0.25
RETRY_REMAINING_S_MIN: Final = 0.05
RETRY_SETTLED_ROUNDS_MAX: Final = 4
IMPORT_IN_FLIGHT_MAX: Final = 256
IMPORT_LINE_BYTES_MAX: Final = 4 << 20

# A measurement by `kv bench`: its length, what is in flight, and what is remembered of it (8 bytes for each call).
BENCH_S_MAX: Final = 600.0
BENCH_WARMUP_S_MAX: Final = 60.0
BENCH_CALLS_MAX: Final = 10_000_000
BENCH_CLIENTS_MAX: Final = 1_024
BENCH_KEYS_MAX: Final = 1_000_000
BENCH_WATCHES_MAX: Final = 1_024
BENCH_PIPELINE_BYTES_MAX: Final = 16 << 20

# Link proxies of a cluster for tests, each way of each connection.
LINK_BUFFER_BYTES_MAX: Final = 8 << 20
LINK_DELAY_MS_MAX: Final = 60_000

# Settings of a node.
HOST_CHARS_MAX: Final = 253
CLUSTER_TOKEN_CHARS_MAX: Final = 256
HEARTBEAT_MS_MIN: Final = 5
HEARTBEAT_MS_MAX: Final = 10_000
ELECTION_MS_MIN: Final = 20
ELECTION_MS_MAX: Final = 60_000
SNAPSHOT_LOG_BYTES_MIN: Final = 4_096
LOG_BYTES_MAX: Final = 1 << 40
BACKUP_EVERY_S_MIN: Final = 1
BACKUP_EVERY_S_MAX: Final = 366 * 86_400
BACKUP_KEEP_MAX: Final = 100_000

# Histories of the harness, and how far a search for a linearization of one key goes before it says "unknown".
HISTORY_LINE_BYTES_MAX: Final = 4 << 20
CHECK_OPS_PER_KEY_MAX: Final = 10_000
CHECK_CONCURRENT_OPS_MAX: Final = 100
CHECK_STATES_PER_KEY_MAX: Final = 500_000
CHECK_KEY_S_MAX: Final = 10.0
WITNESS_S_MAX: Final = 5.0

# A run of the fault-injection harness.
CHAOS_RUN_S_MAX: Final = 86_400
CHAOS_RATE_HZ_MAX: Final = 10_000
CHAOS_ATTACH_S_MAX: Final = 3.0

# The report of a run: what is read, what is drawn, and how large the page can get, whatever was recorded.
RESULTS_BYTES_MAX: Final = 64 << 20
REPORT_BYTES_MAX: Final = 16 << 20
REPORT_TEXT_CHARS_MAX: Final = 400
REPORT_COMMAND_CHARS_MAX: Final = 4_096
REPORT_ROWS_MAX: Final = 300
REPORT_POINTS_MAX: Final = 4_000
REPORT_BUCKETS_MAX: Final = 240
REPORT_NODES_MAX: Final = 32
REPORT_WINDOWS_MAX: Final = 10
REPORT_WINDOW_OPS_MAX: Final = 40

# The command line, while somebody waits in front of it: questions after a failure, completion of words, history of the
# shell, and what `kv top` and `kv doctor` read of one node's metrics.
SITUATION_ASK_S_MAX: Final = 1.0
COMPLETE_S_MAX: Final = 1.0
COMPLETE_WORDS_MAX: Final = 100
SHELL_HISTORY_LINES_MAX: Final = 10_000
SHELL_LINE_BYTES_MAX: Final = 2 << 20
METRICS_BYTES_MAX: Final = 4 << 20
METRICS_SAMPLES_MAX: Final = 50_000
TOP_INTERVAL_S_MIN: Final = 0.2
TOP_INTERVAL_S_MAX: Final = 600.0
