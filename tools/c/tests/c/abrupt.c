/* Leaves signals as a C program finds them: SIGPIPE kills. A callback blocks a core until a subscriber has left
 * unnoticed; then the core sends much to it. At the end the program receives a SIGTERM. The signal must stay pending
 * until the program's thread accepts it, and must not reach a thread of the server. */

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>

#include "check.h"

static sem_t go_on;

static void say(const char *line) {
    puts(line);
    fflush(stdout);
}

static void hold_up(lhttp_context *context, void *user) {
    (void)user;
    CHECK(context != NULL);
    say("held up");
    CHECK(sem_wait(&go_on) == 0);
}

int main(void) {
    static char body[60000];
    lhttp_config config;
    lhttp_server *server;
    lhttp_processor processor = {.size = sizeof processor, .on_message = hold_up};
    sigset_t terminate;
    int signal_number;
    CHECK(sem_init(&go_on, 0, 0) == 0);
    CHECK_OK(lhttp_config_init(&config, sizeof config));
    CHECK_OK(lhttp_config_set(&config, "listen", "127.0.0.1:0"));
    CHECK_OK(lhttp_config_set(&config, "cores", "1"));
    CHECK_OK(lhttp_config_processor(&config, "hold-up", &processor));
    CHECK_OK(lhttp_start(&config, &server));
    CHECK_OK(lhttp_config_release(&config));
    /* Block the signal after the start, as a program may do: the server's threads must have blocked it themselves. */
    sigemptyset(&terminate);
    sigaddset(&terminate, SIGTERM);
    CHECK(pthread_sigmask(SIG_BLOCK, &terminate, NULL) == 0);
    printf("listening on 127.0.0.1:%d\n", lhttp_local_port(server));
    fflush(stdout);
    CHECK(getchar() == '\n');
    /* Several times more than a turn collects before it writes. The channels alternate, so that each subscriber's
     * messages are not adjacent and the server uses writev, which has no flag against the signal. */
    for (int i = 0; i < 16; i++) {
        CHECK_OK(lhttp_publish(server, "room", "news", NULL, body, sizeof body));
        CHECK_OK(lhttp_publish(server, "other", "news", NULL, "small", 5));
    }
    CHECK(sem_post(&go_on) == 0);
    CHECK(getchar() == '\n');
    say("blocked");
    CHECK(getchar() == '\n');
    CHECK(sigwait(&terminate, &signal_number) == 0 && signal_number == SIGTERM);
    CHECK_OK(lhttp_stop(server, 0));
    return 0;
}
