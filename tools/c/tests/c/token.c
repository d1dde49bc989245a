/* A client with a token: its handshake, a refused one, and new tokens. The server is in tools/c/tests/client.rs. */

#include "check.h"

#define PATIENCE 60000

static const char FIRST[] = "e30.e30.Zmlyc3Q", SECOND[] = "e30.e30.c2Vjb25k";

int main(int argc, char **argv) {
    lhttp_client_config config = {.size = sizeof config, .timeout_ms = PATIENCE, .token = FIRST};
    lhttp_client *client = NULL;
    lhttp_event *event = NULL;
    CHECK(argc == 2);

    CHECK_FAILS(LHTTP_ERROR_REFUSED, "the token has run out", lhttp_client_connect(argv[1], &config, &client));
    CHECK(lhttp_last_code() == 401 && strcmp(lhttp_last_reason(), "unauthorized") == 0);
    config.token = "no token";
    CHECK_FAILS(LHTTP_ERROR_OPTION, "not a JWT", lhttp_client_connect(argv[1], &config, &client));
    CHECK(client == NULL);
    config.token = SECOND;
    CHECK_OK(lhttp_client_connect(argv[1], &config, &client));

    CHECK_FAILS(LHTTP_ERROR_REFUSED, "not this", lhttp_client_set_token(client, FIRST));
    CHECK(lhttp_last_code() == 401);
    CHECK_FAILS(LHTTP_ERROR_REFUSED, "not a JWT", lhttp_client_set_token(client, ""));
    CHECK_STATUS(LHTTP_ERROR_ARGUMENT, lhttp_client_set_token(client, NULL));
    CHECK_OK(lhttp_client_set_token(client, SECOND));

    /* What the token does not allow. */
    CHECK_FAILS(LHTTP_ERROR_REFUSED, "not this", lhttp_client_publish(client, "room", "chat", NULL, "x", 1));
    CHECK(lhttp_last_code() == 403 && strcmp(lhttp_last_reason(), "forbidden") == 0);
    CHECK_OK(lhttp_client_poll(client, PATIENCE, &event));
    CHECK(lhttp_event_kind(event) == LHTTP_EVENT_REFUSED && lhttp_event_code(event) == 401);
    CHECK(strcmp(lhttp_event_reason(event), "token-expired") == 0);
    CHECK_OK(lhttp_event_release(event));

    CHECK_OK(lhttp_client_close(client));
    CHECK_STATUS(LHTTP_ERROR_CLOSED, lhttp_client_set_token(client, SECOND));
    puts("done");
    return 0;
}
