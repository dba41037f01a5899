<?php
// Sends one push with PHP's curl, over a connection that was kept or as the vendor's SDK sends it: curl.php kept|sdk.

function call($curl, string $path, array $more = []): string|bool
{
    $always = [CURLOPT_URL => getenv('URL') . $path, CURLOPT_RETURNTRANSFER => true, CURLOPT_TIMEOUT => 20];
    curl_setopt_array($curl, $always + $more);
    return curl_exec($curl);
}

$push = [
    CURLOPT_USERPWD => getenv('CREDENTIALS'),
    CURLOPT_POSTFIELDS => getenv('BODY'),
    CURLOPT_HTTPHEADER => ['Content-Type: application/json'],
];
if ($argv[1] === 'kept') {
    $curl = curl_init();
    call($curl, '/');
    $answer = call($curl, '/v3/push', $push);
} else {
    // Uses a new connection each time, three in all, and stops after a timeout or a reset.
    for ($times = 1; $times <= 3; $times++) {
        $curl = curl_init();
        $answer = call($curl, '/v3/push', $push);
        if (in_array(curl_errno($curl), [CURLE_OK, CURLE_OPERATION_TIMEDOUT, CURLE_RECV_ERROR])) {
            break;
        }
    }
}
echo $answer === false ? 'error: ' . curl_error($curl) : curl_getinfo($curl, CURLINFO_HTTP_CODE) . " $answer", "\n";
