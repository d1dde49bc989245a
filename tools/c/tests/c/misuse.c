/* Misuse gives a status and a sentence, and never undefined behaviour. */

#include <pthread.h>
#include <stdint.h>

#include "check.h"

static lhttp_server *start(lhttp_config *config) {
    lhttp_server *server = NULL;
    CHECK_OK(lhttp_start(config, &server));
    CHECK(server != NULL && lhttp_local_port(server) != 0);
    return server;
}

static void arguments(lhttp_server *server) {
    lhttp_header endless[1025], nameless[] = {{"a", NULL}, {NULL, NULL}}, bad[] = {{"a b", "c"}, {NULL, NULL}};
    for (int i = 0; i < 1025; i++) endless[i] = (lhttp_header){"a", "b"};
    lhttp_header *odd = (lhttp_header *)((char *)endless + 1);
    char *long_name = malloc(300);
    CHECK(long_name != NULL);
    memset(long_name, 'a', 299);
    long_name[299] = 0;
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "channels is NULL", lhttp_publish(server, NULL, "c", NULL, NULL, 0));
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "command is NULL", lhttp_publish(server, "a", NULL, NULL, NULL, 0));
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "body is NULL", lhttp_publish(server, "a", "c", NULL, NULL, 1));
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "body cannot have", lhttp_publish(server, "a", "c", NULL, "b", SIZE_MAX));
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "channels is not UTF-8", lhttp_publish(server, "\xc3", "c", NULL, NULL, 0));
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "headers is misaligned", lhttp_publish(server, "a", "c", odd, NULL, 0));
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "headers: they have no end", lhttp_publish(server, "a", "c", endless, NULL, 0));
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "value is NULL", lhttp_publish(server, "a", "c", nameless, NULL, 0));
    CHECK_FAILS(LHTTP_ERROR_REFUSED, "bad-header", lhttp_publish(server, "a", "c", bad, NULL, 0));
    CHECK_FAILS(LHTTP_ERROR_REFUSED, "bad-start-line", lhttp_publish(server, "a", "two words", NULL, NULL, 0));
    CHECK_FAILS(LHTTP_ERROR_REFUSED, "bad-channel", lhttp_publish(server, "", "c", NULL, NULL, 0));
    CHECK_FAILS(LHTTP_ERROR_REFUSED, "bad-channel", lhttp_publish(server, "a.*", "c", NULL, NULL, 0));
    CHECK_FAILS(LHTTP_ERROR_REFUSED, "bad-channel", lhttp_publish(server, long_name, "c", NULL, NULL, 0));
    char *big = calloc(1, 1 << 20);
    CHECK(big != NULL);
    CHECK_FAILS(LHTTP_ERROR_REFUSED, "message-too-big", lhttp_publish(server, "a", "c", NULL, big, 1 << 20));
    free(big);
    free(long_name);
    CHECK_OK(lhttp_publish(server, "a b", "c", NULL, NULL, 0));
}

static void handles(lhttp_config *config, lhttp_server *server) {
    int something = 0;
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "server is NULL", lhttp_publish(NULL, "a", "c", NULL, NULL, 0));
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "server is NULL", lhttp_stop(NULL, 0));
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "is not a server", lhttp_stop((lhttp_server *)&something, 0));
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "is not a server", lhttp_stop((lhttp_server *)config->options, 0));
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "is not a server", lhttp_stop((lhttp_server *)((char *)server + 800), 0));
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "is not a replier", lhttp_replier_release((lhttp_replier *)server));
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "is not a context", lhttp_send((lhttp_context *)&something, "", 0));
    CHECK(lhttp_local_port((lhttp_server *)&something) == 0);
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "level: 6", lhttp_log(6, NULL, NULL));
}

static void plugging_in(lhttp_config *config) {
    lhttp_processor processor = {0};
    lhttp_filter filter = {.size = 8};
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "processor: 0 is not the size", lhttp_config_processor(config, "c", &processor));
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "processor is NULL", lhttp_config_processor(config, "c", NULL));
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "filter: 8 is not the size", lhttp_config_filter(config, &filter));
    processor.size = sizeof processor;
    CHECK_FAILS(LHTTP_ERROR_REFUSED, "bad-start-line", lhttp_config_processor(config, "two words", &processor));
    CHECK_OK(lhttp_config_processor(config, "c", &processor)); /* a processor that does nothing */
}

/* An option that contradicts another, and an address in use. */
static void starting(lhttp_server *running) {
    char address[32];
    lhttp_config config;
    lhttp_server *server = (lhttp_server *)&config;
    snprintf(address, sizeof address, "127.0.0.1:%d", lhttp_local_port(running));
    CHECK_OK(lhttp_config_init(&config, sizeof config));
    CHECK_OK(lhttp_config_set(&config, "listen", address));
    CHECK_FAILS(LHTTP_ERROR_LISTEN, address, lhttp_start(&config, &server));
    CHECK_OK(lhttp_config_set(&config, "listen", "127.0.0.1:0"));
    CHECK_OK(lhttp_config_set(&config, "max-head", "1MiB"));
    CHECK_FAILS(LHTTP_ERROR_OPTION, "max-head: ", lhttp_start(&config, &server));
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "server is misaligned",
                lhttp_start(&config, (lhttp_server **)((char *)&server + 1)));
    CHECK(server == (lhttp_server *)&config);
    CHECK_OK(lhttp_config_release(&config));
}

static lhttp_server *contended;
static lhttp_status statuses[4];

static void *stops(void *status) {
    *(lhttp_status *)status = lhttp_stop(contended, 0);
    return NULL;
}

/* Publishes until the server has stopped. The server may be behind until then. */
static void *publishes(void *nothing) {
    lhttp_status status;
    do
        status = lhttp_publish(contended, "room", "c", NULL, "body", 4);
    while (status == LHTTP_OK || status == LHTTP_ERROR_FULL);
    CHECK(status == LHTTP_ERROR_CLOSED);
    (void)nothing;
    return NULL;
}

static void at_once(lhttp_config *config) {
    pthread_t threads[4], publisher;
    int stopped = 0;
    contended = start(config);
    CHECK(pthread_create(&publisher, NULL, publishes, NULL) == 0);
    for (int i = 0; i < 4; i++) CHECK(pthread_create(&threads[i], NULL, stops, &statuses[i]) == 0);
    for (int i = 0; i < 4; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(pthread_join(publisher, NULL) == 0);
    for (int i = 0; i < 4; i++) {
        CHECK(statuses[i] == LHTTP_OK || statuses[i] == LHTTP_ERROR_CLOSED);
        stopped += statuses[i] == LHTTP_OK;
    }
    CHECK(stopped == 1);
}

int main(void) {
    lhttp_config config;
    CHECK_OK(lhttp_config_init(&config, sizeof config));
    CHECK_OK(lhttp_config_set(&config, "listen", "127.0.0.1:0"));
    CHECK_OK(lhttp_config_set(&config, "cores", "1"));
    lhttp_server *one = start(&config), *two = start(&config);
    CHECK(lhttp_local_port(one) != lhttp_local_port(two));
    arguments(one);
    handles(&config, one);
    plugging_in(&config);
    starting(one);
    at_once(&config);
    CHECK_OK(lhttp_stop(one, 0));
    CHECK_FAILS(LHTTP_ERROR_CLOSED, "this server was closed before", lhttp_stop(one, 0));
    CHECK_FAILS(LHTTP_ERROR_CLOSED, "closed before", lhttp_publish(one, "a", "c", NULL, NULL, 0));
    CHECK(lhttp_local_port(one) == 0);
    CHECK_OK(lhttp_publish(two, "a", "c", NULL, NULL, 0));
    CHECK_OK(lhttp_stop(two, 0));
    CHECK_OK(lhttp_config_release(&config));
    puts("done");
    return 0;
}
