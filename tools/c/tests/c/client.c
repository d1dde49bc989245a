/* A client and its server: results, errors, several threads, and restarts. */

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "check.h"

/* Long enough for any machine. */
#define PATIENCE 60000

static lhttp_server *server;
static char url[64], address[32] = "127.0.0.1:0";
static sem_t go_on;
static atomic_int forbids_old;
static lhttp_client *called_from_inside;

/* ---- the server ---- */

static void check_channels(lhttp_context *context, void *user) {
    const char *channels = lhttp_context_header(context, "subscribe");
    if (channels != NULL && strstr(channels, atomic_load(&forbids_old) ? "old" : "secret") != NULL)
        CHECK_OK(lhttp_refuse(context, 403, "forbidden", "not this channel"));
    (void)user;
}

static void hold_up(lhttp_context *context, void *user) {
    CHECK(context != NULL);
    CHECK(sem_wait(&go_on) == 0);
    (void)user;
}

/* Answers with two parts. */
static void take_apart(lhttp_context *context, void *user) {
    lhttp_header headers[] = {{"multipart", "0 14"}, {NULL, NULL}};
    CHECK_OK(lhttp_reply(context, "parts", headers, "k1:v1\r\n\r\nbody1k2:v2\r\n\r\nbody2", 28));
    (void)user;
}

static void call_inside(lhttp_context *context, void *user) {
    lhttp_event *event;
    lhttp_client *client = called_from_inside;
    CHECK_FAILS(LHTTP_ERROR_CALLBACK, "lhttp_client_publish cannot", lhttp_client_publish(client, "a", "b", NULL, "", 0));
    CHECK_FAILS(LHTTP_ERROR_CALLBACK, "lhttp_client_poll cannot", lhttp_client_poll(client, 0, &event));
    CHECK_FAILS(LHTTP_ERROR_CALLBACK, "lhttp_client_close cannot", lhttp_client_close(client));
    CHECK_FAILS(LHTTP_ERROR_CALLBACK, "lhttp_client_connect cannot", lhttp_client_connect(url, NULL, &client));
    CHECK_OK(lhttp_send(context, "refused inside", 14));
    (void)user;
}

static void plug(lhttp_config *config, const char *command, lhttp_callback on_message) {
    lhttp_processor processor = {.size = sizeof processor, .on_message = on_message};
    CHECK_OK(lhttp_config_processor(config, command, &processor));
}

/* The second server uses the same port. */
static void start(void) {
    lhttp_config config;
    lhttp_filter filter = {.size = sizeof filter, .before_request = check_channels};
    CHECK_OK(lhttp_config_init(&config, sizeof config));
    CHECK_OK(lhttp_config_set(&config, "listen", address));
    CHECK_OK(lhttp_config_set(&config, "cores", "1"));
    CHECK_OK(lhttp_config_filter(&config, &filter));
    plug(&config, "hold-up", hold_up);
    plug(&config, "take-apart", take_apart);
    plug(&config, "call-inside", call_inside);
    CHECK_OK(lhttp_start(&config, &server));
    CHECK_OK(lhttp_config_release(&config));
    snprintf(address, sizeof address, "127.0.0.1:%d", lhttp_local_port(server));
    snprintf(url, sizeof url, "ws://%s", address);
}

/* ---- the client ---- */

static lhttp_client_config options(void) {
    return (lhttp_client_config){.size = sizeof(lhttp_client_config), .timeout_ms = PATIENCE,
                                 .connect_timeout_ms = PATIENCE, .reconnect_delay_min_ms = 1,
                                 .reconnect_delay_max_ms = 20};
}

static lhttp_client *connect_with(lhttp_client_config config) {
    lhttp_client *client = NULL;
    CHECK_OK(lhttp_client_connect(url, &config, &client));
    CHECK(client != NULL);
    return client;
}

/* The next event, which must be of this kind. */
static lhttp_event *expect(lhttp_client *client, int kind) {
    lhttp_event *event = NULL;
    CHECK_OK(lhttp_client_poll(client, PATIENCE, &event));
    CHECK(lhttp_event_kind(event) == kind);
    return event;
}

static void expect_text(lhttp_client *client, const char *text) {
    size_t len;
    lhttp_event *event = expect(client, LHTTP_EVENT_MESSAGE);
    const void *body = lhttp_event_body(event, &len);
    CHECK(len == strlen(text) && memcmp(body, text, len) == 0);
    CHECK_OK(lhttp_event_release(event));
}

/* After any number of waits. */
static void expect_back(lhttp_client *client) {
    for (;;) {
        lhttp_event *event = NULL;
        CHECK_OK(lhttp_client_poll(client, PATIENCE, &event));
        int kind = lhttp_event_kind(event);
        CHECK_OK(lhttp_event_release(event));
        if (kind == LHTTP_EVENT_OPEN) return;
        CHECK(kind == LHTTP_EVENT_WAITING);
    }
}

static void messages(void) {
    lhttp_client *client = NULL;
    lhttp_event *event = NULL;
    const char *name, *value;
    size_t len;
    client = connect_with(options());
    CHECK_OK(lhttp_client_subscribe(client, "room news.>"));
    lhttp_header headers[] = {{"From", "C"}, {"x", "\xc2\xb5"}, {NULL, NULL}};
    CHECK_OK(lhttp_client_publish(client, "news.today room", "chat", headers, "\x00\xff", 2));
    for (int i = 0; i < 2; i++) {
        event = expect(client, LHTTP_EVENT_MESSAGE);
        CHECK(strcmp(lhttp_event_command(event), "chat") == 0);
        CHECK(strcmp(lhttp_event_channel(event), "news.today room") == 0);
        CHECK(strcmp(lhttp_event_header(event, "from"), "C") == 0 && lhttp_event_header(event, "none") == NULL);
        CHECK_OK(lhttp_event_header_at(event, 1, &name, &value));
        CHECK(strcmp(name, "x") == 0 && strcmp(value, "\xc2\xb5") == 0);
        CHECK_FAILS(LHTTP_ERROR_NOT_FOUND, "not so many", lhttp_event_header_at(event, 9, &name, &value));
        CHECK(memcmp(lhttp_event_body(event, &len), "\x00\xff", 2) == 0 && len == 2 && !lhttp_event_is_text(event));
        CHECK(lhttp_event_part_count(event) == 0 && lhttp_event_code(event) == 0);
        CHECK(lhttp_event_reason(event) == NULL && lhttp_event_sentence(event) == NULL);
        if (i == 0) CHECK_OK(lhttp_event_release(event));
    }
    lhttp_header twice[] = {{"publish", "room"}, {"publish", "news.late"}, {NULL, NULL}};
    CHECK_OK(lhttp_client_send(client, "chat", twice, NULL, 0));
    for (int i = 0; i < 2; i++) {
        lhttp_event *both = expect(client, LHTTP_EVENT_MESSAGE);
        CHECK(strcmp(lhttp_event_channel(both), "room news.late") == 0);
        CHECK_OK(lhttp_event_release(both));
    }
    CHECK_OK(lhttp_client_unsubscribe(client, "room"));
    CHECK_OK(lhttp_client_publish(client, "room", "chat", NULL, "nobody hears it", 15));
    CHECK_OK(lhttp_client_send(client, "take-apart", NULL, NULL, 0));
    lhttp_event *parts = expect(client, LHTTP_EVENT_MESSAGE);
    CHECK(lhttp_event_channel(parts) == NULL && lhttp_event_part_count(parts) == 2 && lhttp_event_is_text(parts));
    CHECK(strcmp(lhttp_event_part_header(parts, 1, "K2"), "v2") == 0);
    CHECK_OK(lhttp_event_part_header_at(parts, 0, 0, &name, &value));
    CHECK(strcmp(name, "k1") == 0 && strcmp(value, "v1") == 0);
    CHECK(memcmp(lhttp_event_part_body(parts, 0, &len), "body1", 5) == 0 && len == 5);
    CHECK(lhttp_event_part_body(parts, 2, &len) == NULL && strcmp(lhttp_last_error(), "there is no part 2") == 0);
    CHECK_STATUS(LHTTP_NOTHING, lhttp_client_poll(client, 0, &event));
    CHECK_OK(lhttp_client_close(client));
    /* Events outlive their client. */
    CHECK(strcmp(lhttp_event_command(event), "chat") == 0 && lhttp_event_part_count(parts) == 2);
    CHECK_OK(lhttp_event_release(event));
    CHECK_OK(lhttp_event_release(parts));
}

static void refusals(void) {
    lhttp_client *client = connect_with(options());
    lhttp_header headers[] = {{"subscribe", "secret"}, {NULL, NULL}};
    CHECK_FAILS(LHTTP_ERROR_REFUSED, "403 forbidden: not this channel", lhttp_client_subscribe(client, "room secret"));
    CHECK(lhttp_last_code() == 403 && strcmp(lhttp_last_reason(), "forbidden") == 0);
    CHECK_FAILS(LHTTP_ERROR_REFUSED, "a..b", lhttp_client_subscribe(client, "a..b"));
    CHECK(lhttp_last_code() == 400 && strcmp(lhttp_last_reason(), "bad-channel") == 0);
    CHECK_FAILS(LHTTP_ERROR_REFUSED, "bad-channel", lhttp_client_unsubscribe(client, ""));
    CHECK_FAILS(LHTTP_ERROR_REFUSED, "bad-channel", lhttp_client_publish(client, "a.*", "c", NULL, NULL, 0));
    CHECK_FAILS(LHTTP_ERROR_REFUSED, "bad-start-line", lhttp_client_send(client, "two words", NULL, NULL, 0));
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "channels is NULL", lhttp_client_subscribe(client, NULL));
    CHECK(lhttp_last_code() == 0 && strcmp(lhttp_last_reason(), "") == 0);
    /* Answers that no call waits for. */
    CHECK_OK(lhttp_client_send(client, "c", headers, NULL, 0));
    lhttp_event *event = expect(client, LHTTP_EVENT_REFUSED);
    CHECK(lhttp_event_code(event) == 403 && strcmp(lhttp_event_reason(event), "forbidden") == 0);
    CHECK(strcmp(lhttp_event_sentence(event), "not this channel") == 0 && strcmp(lhttp_event_command(event), "") == 0);
    CHECK_OK(lhttp_event_release(event));
    CHECK_OK(lhttp_client_publish(client, "room", "c", NULL, NULL, 0));
    CHECK_STATUS(LHTTP_ERROR_REFUSED, lhttp_client_subscribe(client, "secret"));
    /* Not an error, so the earlier error is still the last one. */
    CHECK_STATUS(LHTTP_NOTHING, lhttp_client_poll(client, 0, &event));
    CHECK(lhttp_last_code() == 403 && strstr(lhttp_last_error(), "not this channel") != NULL);
    called_from_inside = client;
    CHECK_OK(lhttp_client_send(client, "call-inside", NULL, NULL, 0));
    expect_text(client, "refused inside");
    CHECK_OK(lhttp_client_close(client));
}

static void limits(void) {
    lhttp_client_config config = options();
    config.timeout_ms = 50;
    lhttp_client *client = connect_with(config);
    CHECK_FAILS(LHTTP_ERROR_TIMED_OUT, "no answer", lhttp_client_publish(client, "room", "hold-up", NULL, NULL, 0));
    CHECK(sem_post(&go_on) == 0);
    CHECK_OK(lhttp_client_close(client));

    config = options();
    config.inbox_messages_max = 1;
    client = connect_with(config);
    CHECK_OK(lhttp_client_subscribe(client, "room"));
    /* The message comes before the acknowledgement. */
    CHECK_FAILS(LHTTP_ERROR_INBOX_FULL, "the inbox is full", lhttp_client_publish(client, "room", "c", NULL, "1", 1));
    CHECK_FAILS(LHTTP_ERROR_INBOX_FULL, "the inbox is full", lhttp_client_subscribe(client, "room"));
    expect_text(client, "1");
    CHECK_OK(lhttp_client_subscribe(client, "other"));
    CHECK_OK(lhttp_client_close(client));
}

/* ---- misuse ---- */

static void connecting(void) {
    lhttp_client *client = (lhttp_client *)&server;
    lhttp_client_config config = options();
    lhttp_header bad[] = {{"a b", "c"}, {NULL, NULL}};
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "url is NULL", lhttp_client_connect(NULL, NULL, &client));
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "url is not UTF-8", lhttp_client_connect("ws://\xff", NULL, &client));
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "client is NULL", lhttp_client_connect(url, NULL, NULL));
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "client is misaligned",
                lhttp_client_connect(url, NULL, (lhttp_client **)((char *)&client + 1)));
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "config is misaligned",
                lhttp_client_connect(url, (lhttp_client_config *)((char *)&config + 1), &client));
    CHECK_FAILS(LHTTP_ERROR_OPTION, "ws://", lhttp_client_connect("http://127.0.0.1", NULL, &client));
    CHECK_FAILS(LHTTP_ERROR_NOT_CONNECTED, "127.0.0.1:1", lhttp_client_connect("ws://127.0.0.1:1", NULL, &client));
    config.headers = bad;
    CHECK_FAILS(LHTTP_ERROR_OPTION, "a b", lhttp_client_connect(url, &config, &client));
    config.headers = (lhttp_header *)((char *)bad + 1);
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "headers is misaligned", lhttp_client_connect(url, &config, &client));
    config.headers = NULL;
    config.ca_file = "/does/not/exist.pem";
    CHECK_FAILS(LHTTP_ERROR_OPTION, "exist.pem", lhttp_client_connect("wss://127.0.0.1:1", &config, &client));
    config.ca_file = "\xff";
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "ca_file is not UTF-8", lhttp_client_connect(url, &config, &client));
    config.size = 0;
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "0 is not the size", lhttp_client_connect(url, &config, &client));
    CHECK(client == (lhttp_client *)&server);
    /* With the defaults: 10 s, which a busy machine may take. */
    lhttp_status status = LHTTP_ERROR_NOT_CONNECTED;
    for (int i = 0; i < PATIENCE / 10000 && status == LHTTP_ERROR_NOT_CONNECTED; i++)
        status = lhttp_client_connect(url, NULL, &client);
    CHECK_OK(status);
    CHECK_OK(lhttp_client_close(client));
    /* A program for a newer library. */
    struct {
        lhttp_client_config config;
        void *later;
    } newer = {options(), NULL};
    newer.config.size = sizeof newer;
    CHECK_OK(lhttp_client_connect(url, &newer.config, &client));
    CHECK_OK(lhttp_client_close(client));
    newer.later = &newer;
    CHECK_FAILS(LHTTP_ERROR_OPTION, "too old", lhttp_client_connect(url, &newer.config, &client));
}

static void handles(void) {
    lhttp_client *client = connect_with(options());
    lhttp_event *event = NULL;
    size_t len = 1;
    int something = 0;
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "event is NULL", lhttp_client_poll(client, 0, NULL));
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "event is misaligned",
                lhttp_client_poll(client, 0, (lhttp_event **)((char *)&event + 1)));
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "client is NULL", lhttp_client_poll(NULL, 0, &event));
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "is not a client", lhttp_client_close((lhttp_client *)server));
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "is not a client", lhttp_client_subscribe((lhttp_client *)&something, "a"));
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "is not a server", lhttp_stop((lhttp_server *)client, 0));
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "body is NULL", lhttp_client_publish(client, "a", "c", NULL, NULL, 1));
    CHECK_OK(lhttp_client_subscribe(client, "room"));
    CHECK_OK(lhttp_client_publish(client, "room", "c", NULL, NULL, 0));
    event = expect(client, LHTTP_EVENT_MESSAGE);
    CHECK(lhttp_event_body(event, NULL) == NULL && strcmp(lhttp_last_error(), "len is NULL") == 0);
    CHECK(lhttp_event_body(event, &len) != NULL && len == 0);
    CHECK(lhttp_event_header(event, NULL) == NULL && lhttp_event_header(event, "\xff") == NULL);
    CHECK_OK(lhttp_event_release(event));
    CHECK_FAILS(LHTTP_ERROR_CLOSED, "this event was closed before", lhttp_event_release(event));
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "event is NULL", lhttp_event_release(NULL));
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "is not an event", lhttp_event_release((lhttp_event *)client));
    CHECK(lhttp_event_kind(event) == LHTTP_EVENT_NONE && lhttp_event_kind(NULL) == LHTTP_EVENT_NONE);
    CHECK(lhttp_event_command(event) == NULL && lhttp_event_body(event, &len) == NULL);
    CHECK_OK(lhttp_client_close(client));
    CHECK_FAILS(LHTTP_ERROR_CLOSED, "this client was closed before", lhttp_client_close(client));
    CHECK_FAILS(LHTTP_ERROR_CLOSED, "closed before", lhttp_client_poll(client, 0, &event));
    CHECK_FAILS(LHTTP_ERROR_CLOSED, "closed before", lhttp_client_publish(client, "a", "c", NULL, NULL, 0));
}

/* ---- several threads ---- */

#define PUBLISHERS 3
#define EACH 20

/* Polls without an end until the client is closed, and returns how many messages came. */
static void *polls(void *client) {
    size_t count = 0;
    for (;;) {
        lhttp_event *event;
        lhttp_status status = lhttp_client_poll(client, LHTTP_NEVER, &event);
        if (status == LHTTP_ERROR_CLOSED) return (void *)count;
        CHECK(status == LHTTP_OK);
        CHECK_OK(lhttp_event_release(event));
        if (++count == PUBLISHERS * EACH) CHECK(sem_post(&go_on) == 0);
    }
}

static void *publishes(void *client) {
    for (int i = 0; i < EACH; i++) CHECK_OK(lhttp_client_publish(client, "room", "c", NULL, "body", 4));
    return NULL;
}

/* No poll would ever end if a call had to wait for it. */
static void threads(void) {
    pthread_t pollers[2], publishers[PUBLISHERS];
    size_t total = 0;
    lhttp_client *client = connect_with(options());
    lhttp_event *event;
    CHECK_OK(lhttp_client_subscribe(client, "room"));
    /* The second one waits for the first. Either thread may receive each event. One of them reports that it was the last. */
    CHECK(pthread_create(&pollers[0], NULL, polls, client) == 0);
    for (int i = 0; i < PUBLISHERS; i++) CHECK(pthread_create(&publishers[i], NULL, publishes, client) == 0);
    for (int i = 0; i < PUBLISHERS; i++) CHECK(pthread_join(publishers[i], NULL) == 0);
    CHECK(sem_wait(&go_on) == 0);
    CHECK(pthread_create(&pollers[1], NULL, polls, client) == 0);
    CHECK_STATUS(LHTTP_NOTHING, lhttp_client_poll(client, 20, &event));
    CHECK_OK(lhttp_client_close(client));
    for (int i = 0; i < 2; i++) {
        void *count;
        CHECK(pthread_join(pollers[i], &count) == 0);
        total += (size_t)count;
    }
    CHECK(total == PUBLISHERS * EACH);
}

/* ---- restarts ---- */

static void restart(void) {
    lhttp_client_config config = options();
    lhttp_client *client = connect_with(config);
    config.reconnect_delay_min_ms = LHTTP_NEVER;
    lhttp_client *once = connect_with(config);
    config = options();
    config.reconnect_delay_min_ms = config.reconnect_delay_max_ms = 3600000;
    config.outbox_bytes_max = 100;
    lhttp_client *patient = connect_with(config);
    pthread_t poller;
    void *count;
    lhttp_event *event;
    static char body[20000];
    CHECK_OK(lhttp_client_subscribe(client, "room old"));
    CHECK_OK(lhttp_stop(server, 0));

    event = expect(once, LHTTP_EVENT_CLOSED);
    CHECK(strlen(lhttp_event_sentence(event)) > 0);
    CHECK_OK(lhttp_event_release(event));
    CHECK_STATUS(LHTTP_ERROR_CLOSED, lhttp_client_poll(once, LHTTP_NEVER, &event));
    CHECK_STATUS(LHTTP_ERROR_CLOSED, lhttp_client_publish(once, "room", "c", NULL, NULL, 0));
    CHECK_OK(lhttp_client_close(once));

    event = expect(patient, LHTTP_EVENT_WAITING);
    CHECK(lhttp_event_retry_in_ms(event) <= 3600000 && strlen(lhttp_event_sentence(event)) > 0);
    CHECK_OK(lhttp_event_release(event));
    CHECK_FAILS(LHTTP_ERROR_FULL, "outbox is full", lhttp_client_send(patient, "c", NULL, body, 100));
    CHECK_FAILS(LHTTP_ERROR_REFUSED, "does not fit into", lhttp_client_send(patient, "c", NULL, body, sizeof body));
    CHECK(lhttp_last_code() == 413);
    /* A poll that waits for the next attempt lets the call in, too. */
    CHECK(pthread_create(&poller, NULL, polls, patient) == 0);
    CHECK_OK(lhttp_client_send(patient, "c", NULL, "1", 1));
    CHECK_FAILS(LHTTP_ERROR_NOT_CONNECTED, "not sent: 1", lhttp_client_close(patient));
    CHECK(pthread_join(poller, &count) == 0 && count == NULL);

    event = expect(client, LHTTP_EVENT_WAITING);
    CHECK_OK(lhttp_event_release(event));
    CHECK_OK(lhttp_client_send(client, "take-apart", NULL, NULL, 0)); /* into the outbox */
    atomic_store(&forbids_old, 1);
    start();
    do {
        CHECK_OK(lhttp_client_poll(client, PATIENCE, &event));
        if (lhttp_event_kind(event) == LHTTP_EVENT_WAITING) CHECK_OK(lhttp_event_release(event));
    } while (lhttp_event_kind(event) == LHTTP_EVENT_NONE);
    /* One comes from the outbox, the other from the renewal. They come in either order. */
    int seen = 0;
    for (;;) {
        int kind = lhttp_event_kind(event);
        if (kind == LHTTP_EVENT_SUBSCRIPTION_LOST) {
            CHECK(strcmp(lhttp_event_channel(event), "old") == 0 && lhttp_event_code(event) == 403);
            CHECK(strcmp(lhttp_event_reason(event), "forbidden") == 0);
            seen |= 1;
        } else if (kind == LHTTP_EVENT_OPEN) {
            CHECK(seen & 1);
            seen |= 2;
        } else {
            CHECK(kind == LHTTP_EVENT_MESSAGE && lhttp_event_part_count(event) == 2);
            seen |= 4;
        }
        CHECK_OK(lhttp_event_release(event));
        if (seen == 7) break;
        CHECK_OK(lhttp_client_poll(client, PATIENCE, &event));
    }
    CHECK_OK(lhttp_publish(server, "room old", "c", NULL, "renewed", 7));
    expect_text(client, "renewed");
    CHECK_OK(lhttp_stop(server, 0));
    start();
    expect_back(client);
    CHECK_OK(lhttp_publish(server, "room", "c", NULL, "again", 5));
    expect_text(client, "again");
    CHECK_OK(lhttp_client_close(client));
}

int main(void) {
    CHECK(sem_init(&go_on, 0, 0) == 0);
    start();
    messages();
    refusals();
    limits();
    connecting();
    handles();
    threads();
    restart();
    CHECK_OK(lhttp_stop(server, 0));
    puts("done");
    return 0;
}
