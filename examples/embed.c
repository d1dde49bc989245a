/*
 * A C program with a server inside. It answers `hello` and refuses clients without a name. A second thread publishes the
 * time to `clock`. The program serves until SIGINT or SIGTERM.
 *
 *     cc -pthread -o embed examples/embed.c $(pkg-config --cflags --libs lhttp)
 *     ./embed 127.0.0.1:8081
 */

#include <lhttp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Ends the program with the library's own sentence unless `status` is LHTTP_OK. */
static void check(lhttp_status status)
{
    if (status == LHTTP_OK)
        return;
    fprintf(stderr, "embed: %s\n", lhttp_last_error());
    _Exit(1);
}

/* Runs on a thread of the server, like every callback. */
static void on_hello(lhttp_context *context, void *user)
{
    char text[128];
    const char *name = lhttp_context_header(context, "name");

    (void)user;
    if (name == NULL) {
        check(lhttp_refuse(context, 400, "no-name", "say who you are in a header `name`"));
        return;
    }
    snprintf(text, sizeof text, "hello, %s", name);
    check(lhttp_send(context, text, strlen(text)));
}

/* Publishes the time once a second, until the server stops. */
static void *tell_time(void *server)
{
    const struct timespec second = {1, 0};
    const lhttp_header headers[] = {{"content-type", "text/plain"}, {NULL, NULL}};
    lhttp_status status;

    do {
        char text[32];
        int len = snprintf(text, sizeof text, "%lld", (long long)time(NULL));
        status = lhttp_publish(server, "clock", "time", headers, text, (size_t)len);
        nanosleep(&second, NULL);
    } while (status == LHTTP_OK || status == LHTTP_ERROR_FULL);
    return NULL;
}

static void log_line(int level, const char *target, const char *line, void *user)
{
    (void)user;
    fprintf(stderr, "embed: level %d, %s: %s\n", level, target, line);
}

int main(int argc, char **argv)
{
    lhttp_config config;
    lhttp_server *server;
    lhttp_processor hello = {.size = sizeof hello, .on_message = on_hello};
    pthread_t clock;
    sigset_t signals;
    int number;

    /* The server's threads take no signals: this thread waits for them. */
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);

    check(lhttp_log(LHTTP_LOG_WARN, log_line, NULL));
    check(lhttp_config_init(&config, sizeof config));
    check(lhttp_config_set(&config, "listen", argc > 1 ? argv[1] : "127.0.0.1:8081"));
    check(lhttp_config_set(&config, "max-message", "16KiB"));
    check(lhttp_config_processor(&config, "hello", &hello));
    check(lhttp_start(&config, &server));
    check(lhttp_config_release(&config));
    printf("listening on port %d\n", lhttp_local_port(server));
    fflush(stdout);

    if (pthread_create(&clock, NULL, tell_time, server) != 0)
        return 1;
    sigwait(&signals, &number);
    check(lhttp_stop(server, 5000));
    pthread_join(clock, NULL);
    puts("stopped");
    return 0;
}
