/* A server with every kind of extension, for a test to talk to. It prints events to stdout, and reads commands from
 * stdin: `publish CHANNEL TEXT` from a second thread, `stop DRAIN_MS`. */

#include <pthread.h>

#include "check.h"

static lhttp_server *server;
static int application; /* `user` is its address everywhere */

static void say(const char *what, const char *more) {
    printf("%s %s\n", what, more);
    fflush(stdout);
}

/* ---- processors ---- */

static void echo_opened(lhttp_context *context, void *user) {
    CHECK(user == &application);
    CHECK(strcmp(lhttp_context_command(context), "echo") == 0);
    say("open", lhttp_context_path(context));
}

static void echo(lhttp_context *context, void *user) {
    size_t len;
    const void *body = lhttp_context_body(context, &len);
    CHECK(user == &application && body != NULL);
    CHECK_OK(lhttp_send(context, body, len));
}

static void echo_closed(lhttp_context *context, void *user) {
    size_t len = 1;
    CHECK(user == &application);
    CHECK(strcmp(lhttp_context_command(context), "") == 0);
    CHECK(lhttp_context_body(context, &len) != NULL && len == 0);
    CHECK_FAILS(LHTTP_ERROR_REFUSED, "no LHTTP message", lhttp_set_body(context, "x", 1));
    say("close", lhttp_context_path(context));
}

/* Answers with everything that a callback can read of a message and its connection. */
static void show(lhttp_context *context, void *user) {
    char text[1024];
    size_t at = 0;
    const char *name, *value;
    for (size_t i = 0; lhttp_context_header_at(context, i, &name, &value) == LHTTP_OK; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "%s=%s;", name, value);
    CHECK_STATUS(LHTTP_ERROR_NOT_FOUND, lhttp_context_header_at(context, 1000, &name, &value));
    CHECK(lhttp_context_header(context, "none") == NULL && lhttp_context_handshake_header(context, "none") == NULL);
    at += (size_t)snprintf(text + at, sizeof text - at, "x:%s path:%s query:%s agent:%s text:%d",
                           lhttp_context_header(context, "X"), lhttp_context_path(context),
                           lhttp_context_query(context), lhttp_context_handshake_header(context, "Agent"),
                           lhttp_context_is_text(context));
    CHECK(strncmp(lhttp_context_peer(context), "127.0.0.1:", 10) == 0);
    CHECK(lhttp_context_token_user(context) == NULL);
    CHECK(strncmp(lhttp_context_connection(context), "0-", 2) == 0);
    lhttp_header headers[] = {{"shown", "yes"}, {NULL, NULL}};
    CHECK_OK(lhttp_reply(context, "seen", headers, text, at));
    CHECK_FAILS(LHTTP_ERROR_REFUSED, "bad-start-line", lhttp_reply(context, "two words", NULL, NULL, 0));
    (void)user;
}

/* Takes a multipart body apart. */
static void upload(lhttp_context *context, void *user) {
    char text[256];
    size_t at = 0, count = lhttp_context_part_count(context), len;
    for (size_t i = 0; i < count; i++) {
        const char *name, *value;
        const char *body = lhttp_context_part_body(context, i, &len);
        CHECK_OK(lhttp_context_part_header_at(context, i, 0, &name, &value));
        CHECK_STATUS(LHTTP_ERROR_NOT_FOUND, lhttp_context_part_header_at(context, i, 1, &name, &value));
        CHECK(lhttp_context_part_header(context, i, "K1") == NULL || i == 0);
        at += (size_t)snprintf(text + at, sizeof text - at, "[%s %.*s]", value, (int)len, body);
    }
    CHECK(lhttp_context_part_body(context, count, &len) == NULL);
    CHECK(strcmp(lhttp_last_error(), "there is no part 2") == 0);
    CHECK_OK(lhttp_reply(context, "upload", NULL, text, at));
    (void)user;
}

/* Subscribes its connection to a room, publishes that, and unsubscribes it at the second message. */
static void join(lhttp_context *context, void *user) {
    const char *room = lhttp_context_header(context, "room");
    if (lhttp_context_user(context) != NULL) {
        CHECK_OK(lhttp_unsubscribe(context, room));
        CHECK_OK(lhttp_context_set_user(context, NULL, NULL));
        CHECK_OK(lhttp_close(context, 4000, "bye"));
        return;
    }
    lhttp_status status = lhttp_subscribe(context, room);
    if (status != LHTTP_OK) {
        CHECK_OK(lhttp_refuse(context, 400, "no-room", lhttp_last_error()));
        return;
    }
    char *copy = malloc(strlen(room) + 1);
    CHECK(copy != NULL);
    CHECK_OK(lhttp_context_set_user(context, strcpy(copy, room), free));
    CHECK(lhttp_context_user(context) == copy);
    CHECK_OK(lhttp_context_publish(context, room, "joined", NULL, room, strlen(room)));
    (void)user;
}

/* Changes the forwarded message. */
static void change(lhttp_context *context, void *user) {
    CHECK_OK(lhttp_set_command(context, "changed"));
    CHECK_OK(lhttp_add_header(context, "more", "1"));
    CHECK_OK(lhttp_set_header(context, "x", "2"));
    CHECK(lhttp_remove_header(context, "secret") == 1 && lhttp_remove_header(context, "secret") == 0);
    CHECK_OK(lhttp_set_body(context, "new", 3));
    CHECK_FAILS(LHTTP_ERROR_REFUSED, "bad-header", lhttp_add_header(context, "a b", "1"));
    (void)user;
}

/* ---- answers from another thread ---- */

static pthread_t answering;
static int has_thread;
static lhttp_context *stale;

static void *answer(void *replier) {
    lhttp_header headers[] = {{"by", "thread"}, {NULL, NULL}};
    CHECK_OK(lhttp_replier_send(replier, "later", 5));
    CHECK_OK(lhttp_replier_reply(replier, "own", headers, "much later", 10));
    CHECK_OK(lhttp_replier_close(replier, 1000, NULL));
    CHECK_OK(lhttp_replier_release(replier));
    CHECK_FAILS(LHTTP_ERROR_CLOSED, "this replier was closed before", lhttp_replier_send(replier, "", 0));
    CHECK_FAILS(LHTTP_ERROR_CLOSED, "this replier was closed before", lhttp_replier_release(replier));
    /* A context does not belong to this thread. */
    CHECK_FAILS(LHTTP_ERROR_CALLBACK, "another thread", lhttp_send(stale, "", 0));
    CHECK(lhttp_context_command(stale) == NULL && lhttp_context_replier(stale) == NULL);
    return NULL;
}

static void later(lhttp_context *context, void *user) {
    stale = context;
    lhttp_replier *replier = lhttp_context_replier(context);
    CHECK(replier != NULL);
    CHECK(pthread_create(&answering, NULL, answer, replier) == 0);
    has_thread = 1;
    (void)user;
}

/* Calls that a callback must not make, and calls with another connection's context. */
static void misuse(lhttp_context *context, void *user) {
    CHECK_FAILS(LHTTP_ERROR_CALLBACK, "lhttp_stop cannot be called inside", lhttp_stop(server, 0));
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "context is NULL", lhttp_send(NULL, "", 0));
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "is not a context", lhttp_send((lhttp_context *)server, "", 0));
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "body is NULL", lhttp_send(context, NULL, 1));
    CHECK(lhttp_context_body(context, NULL) == NULL);
    CHECK(strcmp(lhttp_last_error(), "len is NULL") == 0);
    CHECK(lhttp_context_header(context, "\xff") == NULL);
    if (stale != NULL) CHECK_FAILS(LHTTP_ERROR_CALLBACK, "has returned", lhttp_close(stale, 1000, NULL));
    stale = context;
    CHECK_OK(lhttp_send(context, "misused", 7));
    (void)user;
}

/* ---- a filter, other messages, the log ---- */

static void checks_token(lhttp_context *context, void *user) {
    const char *query = lhttp_context_query(context);
    CHECK(user == &application);
    if (query != NULL && strcmp(query, "token=wrong") == 0)
        CHECK_OK(lhttp_refuse(context, 401, "unauthorized", "who are you?"));
}

static void forbids(lhttp_context *context, void *user) {
    if (lhttp_context_header(context, "forbidden") != NULL)
        CHECK_OK(lhttp_refuse(context, 403, "forbidden", "not this"));
    (void)user;
}

static void after(lhttp_context *context, void *user) {
    if (strcmp(lhttp_context_command(context), "echo") == 0) say("after", lhttp_context_command(context));
    (void)user;
}

static void raw(lhttp_context *context, void *user) {
    size_t len;
    const void *body = lhttp_context_body(context, &len);
    CHECK(user == &application);
    CHECK_OK(lhttp_send(context, body, len));
}

static int lines;

static void logged(int level, const char *target, const char *line, void *user) {
    CHECK(user == &application && level >= LHTTP_LOG_ERROR && level <= LHTTP_LOG_TRACE);
    CHECK(strlen(target) > 0 && strchr(line, '\n') == NULL);
    CHECK_STATUS(LHTTP_ERROR_CALLBACK, lhttp_log(LHTTP_LOG_OFF, NULL, NULL));
    CHECK_STATUS(LHTTP_ERROR_CALLBACK, lhttp_stop(server, 0));
    lines++; /* one thread at a time */
}

/* ---- the program ---- */

static void plug(lhttp_config *config, const char *command, lhttp_callback on_message) {
    lhttp_processor processor = {.size = sizeof processor, .on_message = on_message};
    CHECK_OK(lhttp_config_processor(config, command, &processor));
}

static void start(void) {
    lhttp_config config;
    lhttp_processor echoes = {sizeof echoes, echo_opened, echo, echo_closed, &application};
    lhttp_filter tokens = {.size = sizeof tokens, .on_open = checks_token, .before_request = forbids,
                           .after_request = after, .user = &application};
    CHECK_OK(lhttp_log(LHTTP_LOG_TRACE, logged, &application));
    CHECK_OK(lhttp_config_init(&config, sizeof config));
    config.on_raw = raw;
    config.raw_user = &application;
    CHECK_OK(lhttp_config_set(&config, "listen", "127.0.0.1:0"));
    CHECK_OK(lhttp_config_set(&config, "cores", "1"));
    CHECK_OK(lhttp_config_processor(&config, "echo", &echoes));
    CHECK_OK(lhttp_config_filter(&config, &tokens));
    plug(&config, "show", show);
    plug(&config, "upload", upload);
    plug(&config, "join", join);
    plug(&config, "change", change);
    plug(&config, "later", later);
    plug(&config, "misuse", misuse);
    CHECK_OK(lhttp_start(&config, &server));
    CHECK_OK(lhttp_config_release(&config));
}

static char *rest(char *line) {
    char *space = strchr(line, ' ');
    CHECK(space != NULL);
    *space = 0;
    return space + 1;
}

static void *publishes(void *line) {
    char *channel = rest(line), *text = rest(channel);
    lhttp_header headers[] = {{"from", "C"}, {NULL, NULL}};
    CHECK_OK(lhttp_publish(server, channel, "news", headers, text, strlen(text)));
    return NULL;
}

int main(void) {
    char line[256];
    start();
    printf("listening on 127.0.0.1:%d\n", lhttp_local_port(server));
    fflush(stdout);
    while (fgets(line, sizeof line, stdin) != NULL) {
        line[strcspn(line, "\n")] = 0;
        if (strncmp(line, "publish ", 8) == 0) {
            pthread_t thread;
            CHECK(pthread_create(&thread, NULL, publishes, line) == 0);
            CHECK(pthread_join(thread, NULL) == 0);
        } else {
            CHECK(strncmp(line, "stop ", 5) == 0);
            CHECK_OK(lhttp_stop(server, (uint32_t)atoi(line + 5)));
            break;
        }
    }
    if (has_thread) CHECK(pthread_join(answering, NULL) == 0);
    CHECK_FAILS(LHTTP_ERROR_CLOSED, "this server was closed before", lhttp_publish(server, "a", "b", NULL, NULL, 0));
    CHECK_OK(lhttp_log(LHTTP_LOG_OFF, NULL, NULL));
    printf("stopped, %s\n", lines > 0 ? "with a log" : "without a log");
    return 0;
}
