/* ZooKeeper by its C library, which is asynchronous: as many operations in flight as there are to be, over at most eight
   sessions, each begun in the completion of the one before it. See native.py for what it is given and what it prints.

   get: a sync, and behind it a read on the same session; the time is until the read is answered. On the leader ZooKeeper
   3.8 answers a sync without asking the others, so that this is weaker than a linearizable read. stale: the read alone. */

#include <getopt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include <zookeeper/zookeeper.h>

enum { SESSIONS_MAX = 8, VALUE_BYTES = 100, SESSION_MS = 10000 };

static const char *parent = "/bench";
static char value[VALUE_BYTES + 1];
static const char *operation = "put";
static long keys = 10000;
static double measured_from, measured_until;
static long next_number, total, errors, active;
static int first_error;

/* The completions of one session run in one thread: its times need no lock. */
struct session {
    zhandle_t *handle;
    double *times;
    long count, room;
};

struct slot {
    struct session *session;
    double begun;
    char path[64];
};

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static double cpu_seconds(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static void fail(const char *problem, int code) {
    fprintf(stderr, "%s: %s\n", problem, zerror(code));
    exit(1);
}

static int is(const char *name) { return strcmp(operation, name) == 0; }

static void begin(struct slot *slot);

static void ended(struct slot *slot, int code) {
    double end = now();
    __sync_fetch_and_add(&total, 1);
    if (code == ZNODEEXISTS && is("load")) code = ZOK;
    if (code != ZOK) {
        __sync_fetch_and_add(&errors, 1);
        if (first_error == 0) first_error = code;
    } else if (is("load") || (end > measured_from && end < measured_until)) {
        struct session *mine = slot->session;
        if (mine->count == mine->room) {
            mine->room = mine->room ? 2 * mine->room : 1 << 14;
            mine->times = realloc(mine->times, mine->room * sizeof(double));
            if (mine->times == NULL) abort();
        }
        mine->times[mine->count++] = (end - slot->begun) * 1e3;
    }
    begin(slot);
}

static void on_stat(int code, const struct Stat *stat, const void *slot) { ended((struct slot *)slot, code); }

static void on_string(int code, const char *text, const void *slot) { ended((struct slot *)slot, code); }

static void on_data(int code, const char *data, int size, const struct Stat *stat, const void *slot) {
    ended((struct slot *)slot, code == ZOK && size != VALUE_BYTES ? ZMARSHALLINGERROR : code);
}

static void on_sync(int code, const char *text, const void *nothing) {
    if (code != ZOK) {
        __sync_fetch_and_add(&errors, 1);
        if (first_error == 0) first_error = code;
    }
}

static void begin(struct slot *slot) {
    long number = __sync_fetch_and_add(&next_number, 1);
    int code = ZOK;
    slot->begun = now();
    if (is("load") ? number >= keys : slot->begun > measured_until) {
        __sync_fetch_and_sub(&active, 1);
        return;
    }
    snprintf(slot->path, sizeof slot->path, "%s/key%ld", parent, number * 7919 % keys);
    if (is("load")) {
        code = zoo_acreate(slot->session->handle, slot->path, value, VALUE_BYTES, &ZOO_OPEN_ACL_UNSAFE, 0, on_string, slot);
    } else if (is("put")) {
        code = zoo_aset(slot->session->handle, slot->path, value, VALUE_BYTES, -1, on_stat, slot);
    } else {
        if (is("get")) code = zoo_async(slot->session->handle, parent, on_sync, NULL);
        if (code == ZOK) code = zoo_aget(slot->session->handle, slot->path, 0, on_data, slot);
    }
    if (code != ZOK) fail("an operation could not be sent", code);
}

static zhandle_t *connected(const char *hosts) {
    double deadline = now() + 20;
    zhandle_t *handle = zookeeper_init(hosts, NULL, SESSION_MS, NULL, NULL, 0);
    while (handle != NULL && zoo_state(handle) != ZOO_CONNECTED_STATE && now() < deadline) usleep(2000);
    if (handle == NULL || zoo_state(handle) != ZOO_CONNECTED_STATE) fail("no session", ZCONNECTIONLOSS);
    /* The first request of a session may have to wait for long, and is not what is measured. */
    int code = zoo_exists(handle, "/", 0, NULL);
    while (code != ZOK && now() < deadline) code = zoo_exists(handle, "/", 0, NULL);
    if (code != ZOK) fail("no answer", code);
    return handle;
}

static void *until_end_of_input(void *nothing) {
    char part[64];
    while (read(0, part, sizeof part) > 0) {
    }
    _exit(0);
}

/* The library goes to another server by itself. */
static void writes(const char *hosts) {
    zhandle_t *handle = connected(hosts);
    char path[64];
    pthread_t thread;
    snprintf(path, sizeof path, "%s/failover", parent);
    int code = zoo_create(handle, path, value, VALUE_BYTES, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0);
    if (code != ZOK && code != ZNODEEXISTS) fail(path, code);
    if (pthread_create(&thread, NULL, until_end_of_input, NULL)) abort();
    for (;;) {
        if (zoo_set(handle, path, value, VALUE_BYTES, -1) != ZOK) {
            usleep(2000);
            continue;
        }
        if (write(1, ".\n", 2) != 2) return;
    }
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int count, char **words) {
    static struct session sessions[SESSIONS_MAX];
    static const struct option options[] = {
        {"endpoints", 1, 0, 'e'}, {"operation", 1, 0, 'o'}, {"clients", 1, 0, 'c'}, {"seconds", 1, 0, 's'},
        {"warmup", 1, 0, 'w'},    {"keys", 1, 0, 'k'},      {0, 0, 0, 0}};
    const char *hosts = "";
    long clients = 1;
    double seconds = 3, warmup = 0.5;
    for (int option; (option = getopt_long(count, words, "", options, NULL)) != -1;) switch (option) {
        case 'e': hosts = optarg; break;
        case 'o': operation = optarg; break;
        case 'c': clients = atol(optarg); break;
        case 's': seconds = atof(optarg); break;
        case 'w': warmup = atof(optarg); break;
        case 'k': keys = atol(optarg); break;
        default: return 2;
        }
    memset(value, 'x', VALUE_BYTES);
    zoo_set_debug_level(0);
    if (is("writes")) {
        writes(hosts);
        return 0;
    }
    long used = clients < SESSIONS_MAX ? clients : SESSIONS_MAX;
    for (long i = 0; i < used; i++) sessions[i].handle = connected(hosts);
    if (is("load")) {
        int code = zoo_create(sessions[0].handle, parent, "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0);
        if (code != ZOK && code != ZNODEEXISTS) fail(parent, code);
    }
    struct slot *slots = calloc(clients, sizeof *slots);
    if (slots == NULL) abort();
    double begun = now(), cpu = cpu_seconds();
    measured_from = begun + warmup;
    measured_until = measured_from + seconds;
    active = clients;
    for (long i = 0; i < clients; i++) {
        slots[i].session = &sessions[i % used];
        begin(&slots[i]);
    }
    int measuring = 0;
    while (__sync_fetch_and_add(&active, 0) > 0) {
        usleep(1000);
        if (!measuring && now() > measured_from) {
            measuring = 1;
            cpu = cpu_seconds();
        }
        if (!is("load") && now() > measured_until + 10) {
            fprintf(stderr, "%ld operations were never answered\n", active);
            return 1;
        }
    }
    double end = now(), share = (cpu_seconds() - cpu) / (end - (is("load") ? begun : measured_from));
    if (is("load")) seconds = end - begun;
    long done = 0;
    for (long i = 0; i < used; i++) done += sessions[i].count;
    double *times = malloc((done + 1) * sizeof *times);
    if (times == NULL) abort();
    times[0] = 0;
    for (long i = 0, at = 0; i < used; at += sessions[i].count, i++)
        if (sessions[i].count) memcpy(times + at, sessions[i].times, sessions[i].count * sizeof *times);
    qsort(times, done, sizeof *times, ascending);
    long last = done ? done - 1 : 0;
    printf("{\"operations\": %ld, \"seconds\": %.4f, \"total\": %ld, \"p50_ms\": %.4f, \"p99_ms\": %.4f, ", done, seconds,
           total, times[last / 2], times[(long)(0.99 * last)]);
    printf("\"worst_ms\": %.4f, \"errors\": %ld, \"error\": ", times[last], errors);
    printf(first_error ? "\"%s\"" : "null", zerror(first_error));
    printf(", \"threads\": %ld, \"cpu_share\": %.4f}\n", 2 * used, share);
    fflush(stdout);
    for (long i = 0; i < used; i++) zookeeper_close(sessions[i].handle);
    return 0;
}
