/* A client and channels with a history: ids, older messages, and what was missed. The server, and the proxy that is cut and
 * restored, are in tools/c/tests/history.rs. */

#include "check.h"

#define PATIENCE 60000

static lhttp_client *connect_to(const char *url, size_t no_resume) {
    lhttp_client_config config = {.size = sizeof config, .timeout_ms = PATIENCE, .connect_timeout_ms = PATIENCE,
                                  .reconnect_delay_min_ms = 1, .reconnect_delay_max_ms = 20, .no_resume = no_resume};
    lhttp_client *client = NULL;
    CHECK_OK(lhttp_client_connect(url, &config, &client));
    return client;
}

/* Asks the test to do something, and waits until it is done. */
static void ask(const char *wish) {
    char line[16];
    puts(wish);
    fflush(stdout);
    CHECK(fgets(line, sizeof line, stdin) != NULL && strcmp(line, "done\n") == 0);
}

static void publish(lhttp_client *client, const char *channel, const char *text) {
    CHECK_OK(lhttp_client_publish(client, channel, "chat", NULL, text, strlen(text)));
}

static void expect_text(lhttp_client *client, const char *text, const char *id) {
    lhttp_event *event = NULL;
    size_t len;
    CHECK_OK(lhttp_client_poll(client, PATIENCE, &event));
    CHECK(lhttp_event_kind(event) == LHTTP_EVENT_MESSAGE);
    CHECK(memcmp(lhttp_event_body(event, &len), text, strlen(text)) == 0 && len == strlen(text));
    if (id != NULL) CHECK(strcmp(lhttp_event_header(event, "message-id"), id) == 0);
    CHECK_OK(lhttp_event_release(event));
}

/* Reads until the client is connected again, and writes what has come: bodies, and "lost:" with the channel. */
static void until_open(lhttp_client *client, char *seen, size_t room) {
    seen[0] = '\0';
    for (;;) {
        lhttp_event *event = NULL;
        size_t len, used = strlen(seen);
        CHECK_OK(lhttp_client_poll(client, PATIENCE, &event));
        int kind = lhttp_event_kind(event);
        if (kind == LHTTP_EVENT_MESSAGES_LOST) snprintf(seen + used, room - used, "lost:%s ", lhttp_event_channel(event));
        if (kind == LHTTP_EVENT_MESSAGE) {
            const char *body = lhttp_event_body(event, &len);
            snprintf(seen + used, room - used, "%.*s ", (int)len, body);
        }
        CHECK_OK(lhttp_event_release(event));
        if (kind == LHTTP_EVENT_OPEN) return;
    }
}

/* Publishes while the client is away. */
static void miss(lhttp_client *client, lhttp_client *writer) {
    lhttp_event *event = NULL;
    ask("cut");
    CHECK_OK(lhttp_client_poll(client, PATIENCE, &event));
    CHECK(lhttp_event_kind(event) == LHTTP_EVENT_WAITING);
    CHECK_OK(lhttp_event_release(event));
    publish(writer, "kept.a", "missed");
    for (int i = 0; i < 4; i++) publish(writer, "short", "too many");
    ask("restore");
}

int main(int argc, char **argv) {
    char first[64], since[80], seen[256];
    lhttp_event *event = NULL;
    CHECK(argc == 3);
    const char *url = argv[1], *through_proxy = argv[2];
    lhttp_client *writer = connect_to(url, 0);

    CHECK(strcmp(lhttp_last_message_id(), "") == 0);
    publish(writer, "kept.a", "one");
    snprintf(first, sizeof first, "%s", lhttp_last_message_id());
    CHECK(strlen(first) > 2);
    publish(writer, "plain kept.b", "two channels");
    CHECK(strncmp(lhttp_last_message_id(), "- ", 2) == 0 && strlen(lhttp_last_message_id()) > 4);
    publish(writer, "plain", "no history");
    CHECK(strcmp(lhttp_last_message_id(), "") == 0);
    publish(writer, "kept.a", "two");
    CHECK_STATUS(LHTTP_ERROR_REFUSED, lhttp_client_publish(writer, "a..b", "chat", NULL, NULL, 0));
    CHECK(strcmp(lhttp_last_message_id(), "") == 0);
    publish(writer, "kept.a", "three");

    lhttp_client *client = connect_to(through_proxy, 0);
    CHECK_OK(lhttp_client_subscribe_from(client, "short kept.a", NULL, 2));
    expect_text(client, "two", NULL);
    expect_text(client, "three", lhttp_last_message_id());
    lhttp_client *other = connect_to(url, 0);
    snprintf(since, sizeof since, "- %s", first);
    CHECK_OK(lhttp_client_subscribe_from(other, "short kept.a", since, 0));
    expect_text(other, "two", NULL);
    expect_text(other, "three", NULL);
    CHECK_OK(lhttp_client_subscribe_from(other, "kept.b", "somebody-elses", 5));
    expect_text(other, "two channels", NULL);
    CHECK_OK(lhttp_client_poll(other, PATIENCE, &event));
    CHECK(lhttp_event_kind(event) == LHTTP_EVENT_MESSAGES_LOST && strcmp(lhttp_event_channel(event), "kept.b") == 0);
    CHECK(lhttp_event_code(event) == 0 && lhttp_event_sentence(event) == NULL);
    CHECK_OK(lhttp_event_release(event));
    CHECK_OK(lhttp_client_subscribe_from(other, "plain", NULL, 0));

    CHECK_FAILS(LHTTP_ERROR_REFUSED, "2 ids for 1 names", lhttp_client_subscribe_from(other, "plain", "a b", 0));
    CHECK(lhttp_last_code() == 400 && strcmp(lhttp_last_reason(), "bad-header") == 0);
    CHECK_FAILS(LHTTP_ERROR_REFUSED, "1 to 1000", lhttp_client_subscribe_from(other, "plain", NULL, 1001));
    CHECK_FAILS(LHTTP_ERROR_REFUSED, "1 to 1000", lhttp_client_subscribe_from(other, "plain", NULL, 65537));
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "channels is NULL", lhttp_client_subscribe_from(other, NULL, NULL, 1));
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "since is not UTF-8", lhttp_client_subscribe_from(other, "plain", "\xff", 1));
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "client is NULL", lhttp_client_subscribe_from(NULL, "plain", NULL, 1));
    CHECK_OK(lhttp_client_close(other));
    CHECK_FAILS(LHTTP_ERROR_CLOSED, "closed before", lhttp_client_subscribe_from(other, "plain", NULL, 1));

    miss(client, writer);
    until_open(client, seen, sizeof seen);
    CHECK(strcmp(seen, "missed lost:short ") == 0);
    publish(writer, "kept.a", "new");
    expect_text(client, "new", lhttp_last_message_id());
    CHECK_OK(lhttp_client_close(client));

    client = connect_to(through_proxy, 1);
    CHECK_OK(lhttp_client_subscribe(client, "short kept.a"));
    miss(client, writer);
    until_open(client, seen, sizeof seen);
    CHECK(strcmp(seen, "") == 0);
    CHECK_OK(lhttp_client_close(client));
    CHECK_OK(lhttp_client_close(writer));
    puts("done");
    return 0;
}
