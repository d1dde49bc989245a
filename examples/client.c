/*
 * A C client of a server. It prints the messages of a channel and the state of its connection. A second thread publishes
 * each line of stdin. The program ends with its input, or with SIGINT or SIGTERM.
 *
 *     cc -pthread -o client examples/client.c $(pkg-config --cflags --libs lhttp)
 *     ./client ws://127.0.0.1:8081 room
 *     ./client wss://example.com room ca.pem
 *     LHTTP_TOKEN=$(cat token) ./client wss://example.com room
 */

#include <inttypes.h>
#include <lhttp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static lhttp_client *client;
static const char *channel;
static volatile sig_atomic_t stopping;

static void stop(int number)
{
    (void)number;
    stopping = 1;
}

/* Publishes the lines of stdin while the other thread polls. Then closes the client, which ends the poll. */
static void *publish_lines(void *unused)
{
    char line[4096];

    while (fgets(line, sizeof line, stdin) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (lhttp_client_publish(client, channel, "chat", NULL, line, strlen(line)) != LHTTP_OK)
            fprintf(stderr, "client: not published: %s\n", lhttp_last_error());
    }
    lhttp_client_close(client);
    return unused;
}

static void print(const lhttp_event *event)
{
    size_t len;
    const char *body = lhttp_event_body(event, &len);
    size_t i;

    switch (lhttp_event_kind(event)) {
    case LHTTP_EVENT_MESSAGE:
        if (lhttp_event_channel(event) != NULL)
            printf("%s: ", lhttp_event_channel(event));
        printf("%s ", lhttp_event_command(event));
        fwrite(body, 1, len, stdout);
        putchar('\n');
        break;
    case LHTTP_EVENT_RAW:
        printf("not LHTTP, %zu bytes of %s\n", len, lhttp_event_is_text(event) ? "text" : "something else");
        break;
    case LHTTP_EVENT_REFUSED:
    case LHTTP_EVENT_SUBSCRIPTION_LOST:
        printf("refused: %d %s: %s\n", lhttp_event_code(event), lhttp_event_reason(event), lhttp_event_sentence(event));
        break;
    case LHTTP_EVENT_MESSAGES_LOST:
        printf("messages of %s are lost\n", lhttp_event_channel(event));
        break;
    case LHTTP_EVENT_PRESENCE_CHANGE:
        for (i = 0; i < lhttp_event_member_count(event); i++)
            printf("%s is in %s\n", lhttp_event_member_user(event, i), lhttp_event_channel(event));
        for (i = 0; i < lhttp_event_left_count(event); i++)
            printf("%s has left %s\n", lhttp_event_left_user(event, i), lhttp_event_channel(event));
        if (lhttp_event_more(event) > 0)
            printf("%" PRIu64 " more have come or gone, and %" PRIu64 " users are in %s\n", lhttp_event_more(event),
                   lhttp_event_users(event), lhttp_event_channel(event));
        break;
    case LHTTP_EVENT_TOKEN_ENDING:
        puts("the token runs out soon"); /* call lhttp_client_set_token with another one */
        break;
    case LHTTP_EVENT_OPEN:
        puts("connected again");
        break;
    case LHTTP_EVENT_WAITING:
        printf("not connected: %s\n", lhttp_event_sentence(event));
        break;
    }
    fflush(stdout);
}

int main(int argc, char **argv)
{
    lhttp_client_config config = {.size = sizeof config, .reconnect_delay_max_ms = 2000};
    struct sigaction action = {.sa_handler = stop};
    sigset_t signals;
    pthread_t publisher;
    lhttp_event *event;
    lhttp_status status;

    if (argc < 3) {
        fprintf(stderr, "usage: client URL CHANNEL [CA-FILE]\n");
        return 2;
    }
    channel = argv[2];
    config.token = getenv("LHTTP_TOKEN");
    config.ca_file = argc > 3 ? argv[3] : NULL;
    status = lhttp_client_connect(argv[1], &config, &client);
    if (status == LHTTP_OK)
        status = lhttp_client_subscribe(client, channel);
    if (status != LHTTP_OK) {
        fprintf(stderr, "client: %s\n", lhttp_last_error());
        return 1;
    }
    puts("subscribed");
    fflush(stdout);

    /* This thread receives the signals, which end its poll. */
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    if (pthread_create(&publisher, NULL, publish_lines, NULL) != 0)
        return 1;
    pthread_sigmask(SIG_UNBLOCK, &signals, NULL);

    /* A signal that comes between the check of `stopping` and the wait is noticed a second later. */
    while (!stopping) {
        status = lhttp_client_poll(client, 1000, &event);
        if (status == LHTTP_OK) {
            print(event);
            lhttp_event_release(event);
        } else if (status != LHTTP_NOTHING) {
            break; /* closed */
        }
    }
    if (stopping)
        lhttp_client_close(client);
    else
        pthread_join(publisher, NULL);
    puts("closed");
    return 0;
}
