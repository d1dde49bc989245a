/* Clients that ask who is in a channel, and are told who comes and goes. The server, and the proxy that is cut and restored,
 * are in tools/c/tests/presence.rs. */

#include "check.h"

#include <time.h>

#define PATIENCE 60000

static lhttp_client *connect_to(const char *url) {
    lhttp_client_config config = {.size = sizeof config, .timeout_ms = PATIENCE, .connect_timeout_ms = PATIENCE,
                                  .reconnect_delay_min_ms = 1, .reconnect_delay_max_ms = 20};
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

static lhttp_event *next(lhttp_client *client) {
    lhttp_event *event = NULL;
    CHECK_OK(lhttp_client_poll(client, PATIENCE, &event));
    return event;
}

static void until(lhttp_client *client, int kind) {
    for (;;) {
        lhttp_event *event = next(client);
        int is_it = lhttp_event_kind(event) == kind;
        CHECK_OK(lhttp_event_release(event));
        if (is_it) return;
    }
}

static lhttp_event *list(lhttp_client *client, const char *channel) {
    lhttp_event *event = NULL;
    CHECK_OK(lhttp_client_presence(client, channel, &event));
    CHECK(lhttp_event_kind(event) == LHTTP_EVENT_PRESENCE && strcmp(lhttp_event_channel(event), channel) == 0);
    CHECK(lhttp_event_left_count(event) == 0 && lhttp_event_more(event) == 0);
    CHECK(lhttp_event_users(event) == lhttp_event_member_count(event));
    return event;
}

/* Asks until so many users are in the channel. */
static lhttp_event *wait_for(lhttp_client *client, const char *channel, size_t count) {
    time_t start = time(NULL);
    for (;;) {
        lhttp_event *event = list(client, channel);
        if (lhttp_event_member_count(event) == count) return event;
        CHECK_OK(lhttp_event_release(event));
        CHECK(time(NULL) - start < PATIENCE / 1000);
    }
}

static void asking(lhttp_client *client, const char *through_proxy) {
    lhttp_event *event = NULL, *unchanged = NULL;
    lhttp_client *other = connect_to(through_proxy);

    event = list(client, "asked");
    CHECK(lhttp_event_member_count(event) == 0);
    CHECK_OK(lhttp_event_release(event));
    CHECK_OK(lhttp_client_subscribe_with_info(other, "asked", "say \"hi\", Zürich", NULL, 0));
    event = wait_for(client, "asked", 1);
    CHECK(lhttp_event_member_user(event, 0)[0] == '~' && strlen(lhttp_event_member_user(event, 0)) == 13);
    CHECK(strcmp(lhttp_event_member_info(event, 0), "\"say \\\"hi\\\", Zürich\"") == 0);
    CHECK(strcmp(lhttp_event_member_info_text(event, 0), "say \"hi\", Zürich") == 0);
    CHECK(lhttp_event_member_connections(event, 0) == 1);
    CHECK(llabs((long long)lhttp_event_member_since(event, 0) - (long long)time(NULL)) < 100);
    CHECK(lhttp_event_member_user(event, 1) == NULL && strstr(lhttp_last_error(), "not so many users") != NULL);
    CHECK(lhttp_event_member_info(event, 1) == NULL && lhttp_event_member_info_text(event, 1) == NULL);
    CHECK(lhttp_event_member_connections(event, 1) == 0 && lhttp_event_member_since(event, 1) == 0);
    CHECK(lhttp_event_left_user(event, 0) == NULL && strcmp(lhttp_event_command(event), "") == 0);
    CHECK_OK(lhttp_event_release(event));
    CHECK(lhttp_event_member_user(event, 0) == NULL && lhttp_event_member_count(event) == 0);

    CHECK_OK(lhttp_client_subscribe_with_info(client, "asked", NULL, NULL, 0));
    event = list(client, "asked");
    CHECK(lhttp_event_member_count(event) == 2);
    size_t own = lhttp_event_member_info(event, 0) == NULL ? 0 : 1;
    CHECK(lhttp_event_member_info(event, own) == NULL && lhttp_event_member_info_text(event, own) == NULL);
    CHECK(lhttp_event_member_info(event, 1 - own) != NULL);
    CHECK_OK(lhttp_event_release(event));

    ask("cut");
    until(other, LHTTP_EVENT_WAITING);
    CHECK_OK(lhttp_event_release(wait_for(client, "asked", 1)));
    ask("restore");
    until(other, LHTTP_EVENT_OPEN);
    event = wait_for(client, "asked", 2);
    CHECK(lhttp_event_member_info(event, 0) != NULL || lhttp_event_member_info(event, 1) != NULL);
    CHECK_OK(lhttp_event_release(event));

    CHECK_FAILS(LHTTP_ERROR_REFUSED, "no-presence", lhttp_client_presence(client, "plain", &unchanged));
    CHECK(lhttp_last_code() == 404 && strcmp(lhttp_last_reason(), "no-presence") == 0);
    CHECK_STATUS(LHTTP_ERROR_REFUSED, lhttp_client_presence(client, "secret", &unchanged));
    CHECK(lhttp_last_code() == 403 && strcmp(lhttp_last_reason(), "forbidden") == 0);
    CHECK_STATUS(LHTTP_ERROR_REFUSED, lhttp_client_presence(client, "asked.*", &unchanged));
    CHECK(lhttp_last_code() == 400 && strcmp(lhttp_last_reason(), "bad-channel") == 0);
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "channel is NULL", lhttp_client_presence(client, NULL, &unchanged));
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "event is NULL", lhttp_client_presence(client, "asked", NULL));
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "client is NULL", lhttp_client_presence(NULL, "asked", &unchanged));
    char text[258];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    CHECK_FAILS(LHTTP_ERROR_REFUSED, "256 bytes", lhttp_client_subscribe_with_info(other, "asked", text, NULL, 0));
    CHECK_STATUS(LHTTP_ERROR_REFUSED, lhttp_client_subscribe_with_info(other, "asked", "\033[2J", NULL, 0));
    CHECK_FAILS(LHTTP_ERROR_REFUSED, "1 to 1000", lhttp_client_subscribe_with_info(other, "asked", "x", NULL, 1001));
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "info is not UTF-8",
                lhttp_client_subscribe_with_info(other, "asked", "\xff", NULL, 0));
    CHECK_OK(lhttp_client_close(other));
    CHECK_FAILS(LHTTP_ERROR_CLOSED, "closed before", lhttp_client_presence(other, "asked", &unchanged));
    CHECK(unchanged == NULL);
}

/* Polls until it is told that a user with this text has come, or, without a text, that this user has left. Returns how many
 * users are there then. */
static uint64_t until_told(lhttp_client *client, const char *text, char *user, size_t room) {
    for (;;) {
        lhttp_event *event = next(client);
        int is_told = 0;
        CHECK(lhttp_event_kind(event) == LHTTP_EVENT_PRESENCE_CHANGE);
        CHECK(strcmp(lhttp_event_channel(event), "told") == 0 && lhttp_event_more(event) == 0);
        for (size_t i = 0; text != NULL && i < lhttp_event_member_count(event); i++) {
            const char *shown = lhttp_event_member_info_text(event, i);
            if (shown == NULL || strcmp(shown, text) != 0) continue;
            snprintf(user, room, "%s", lhttp_event_member_user(event, i));
            is_told = 1;
        }
        for (size_t i = 0; text == NULL && i < lhttp_event_left_count(event); i++)
            is_told |= strcmp(lhttp_event_left_user(event, i), user) == 0;
        uint64_t users = lhttp_event_users(event);
        CHECK_OK(lhttp_event_release(event));
        CHECK(lhttp_event_users(event) == 0);
        if (is_told) return users;
    }
}

static void being_told(lhttp_client *client, const char *url) {
    char user[64], again[64];
    lhttp_client *other = connect_to(url);
    CHECK_OK(lhttp_client_subscribe(client, "told"));
    CHECK_OK(lhttp_client_subscribe_with_info(other, "told", "here", NULL, 0));
    CHECK(until_told(client, "here", user, sizeof user) == 2);
    CHECK_OK(lhttp_client_subscribe_with_info(other, "told", "away", NULL, 0));
    CHECK(until_told(client, "away", again, sizeof again) == 2);
    CHECK(strcmp(user, again) == 0);
    CHECK_OK(lhttp_client_close(other));
    CHECK(until_told(client, NULL, user, sizeof user) == 1);
}

int main(int argc, char **argv) {
    CHECK(argc == 3);
    lhttp_client *client = connect_to(argv[1]);
    asking(client, argv[2]);
    being_told(client, argv[1]);
    CHECK_OK(lhttp_client_close(client));
    puts("done");
    return 0;
}
