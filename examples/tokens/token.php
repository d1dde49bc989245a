<?php
// Makes a token for lhttpd with PHP's standard library. Copy make_token into your program.
//
//     openssl rand -hex 32 > secret && chmod 600 secret
//     lhttpd --token-key secret &
//     php token.php secret mike 'room.*'

declare(strict_types=1);

/**
 * A token for $user, which is valid for so many seconds. $more are other claims, for example iss or aud.
 *
 * @param list<string> $subscribe
 * @param list<string> $publish
 * @param array<string, mixed> $more
 */
function make_token(
    string $secret,
    string $user,
    array $subscribe = [],
    array $publish = [],
    int $seconds = 3600,
    array $more = [],
): string {
    $encode = fn (string $bytes): string => rtrim(strtr(base64_encode($bytes), '+/', '-_'), '=');
    $encode_json = fn (array $value): string => $encode(json_encode($value, JSON_THROW_ON_ERROR));
    $head = ['alg' => 'HS256', 'typ' => 'JWT'];
    $claims = [
        'sub' => $user,
        'exp' => time() + $seconds,
        'lhttp.subscribe' => array_values($subscribe),
        'lhttp.publish' => array_values($publish),
        ...$more,
    ];
    $signed = $encode_json($head) . '.' . $encode_json($claims);
    return $signed . '.' . $encode(hash_hmac('sha256', $signed, $secret, true));
}

if (realpath($_SERVER['SCRIPT_FILENAME'] ?? '') === __FILE__) {
    if ($argc < 3) {
        fwrite(STDERR, "usage: token.php SECRET-FILE USER [CHANNEL...]\n");
        exit(1);
    }
    $secret = file_get_contents($argv[1]);
    if ($secret === false) {
        exit(1);
    }
    // As lhttpd does, without the line break at the end.
    if (str_ends_with($secret, "\n")) {
        $secret = substr($secret, 0, -1);
    }
    $channels = array_slice($argv, 3);
    echo make_token($secret, $argv[2], $channels, $channels), "\n";
}
