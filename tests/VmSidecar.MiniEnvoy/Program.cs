using VmSidecar.MiniEnvoy.Startup;

return await MiniEnvoyApp.RunAsync(args, Console.Out, Console.Error);
